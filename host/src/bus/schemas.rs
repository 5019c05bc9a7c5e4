//! Schemas of the bus's events.

use super::Bus;
use crate::log::AdminError;
use crate::schema::{Compatibility, Schema, SchemaVersion, SubjectStatus, VersionedType};

impl Bus {
    /// Registers the schema of an event type with its version, such as `OrderPlaced.v2`. The versions of a subject follow one
    /// another from 1, each held to the subject's compatibility mode, which is `backward` unless another one is given: then
    /// it is the subject's from now on. A version that is there already, with the same schema, stays as it is.
    ///
    /// Topics with [`SchemaPolicy::Required`](crate::config::SchemaPolicy::Required) hold what is published to it.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::AdminError;
    /// use tidegate::schema::Schema;
    ///
    /// let v1 = Schema::json(r#"{"type": "object", "properties": {"price": {"type": "number"}}}"#)?;
    /// bus.register_schema("OrderPlaced.v1", v1, None).await?;
    ///
    /// let v2 = Schema::json(r#"{"type": "object", "properties": {"price": {"type": "string"}}}"#)?;
    /// match bus.register_schema("OrderPlaced.v2", v2, None).await {
    ///     Err(AdminError::Incompatible(incompatible)) => assert_eq!(incompatible.breaks[0].path, "/price"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`AdminError`]. Durable when this returns; with `InDoubt` it may be, and registering it again is safe.
    pub async fn register_schema(
        &self,
        event_type: &str,
        schema: Schema,
        compatibility: Option<Compatibility>,
    ) -> Result<SchemaVersion, AdminError> {
        if !schema.format().is_built() {
            return Err(schema.format().not_built().into());
        }
        let event_type: VersionedType = event_type.parse()?;
        schema.check()?;
        self.inner.log.register_schema(&event_type, &schema, compatibility).await
    }

    /// All subjects with their schemas, by name.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// assert!(bus.schemas().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn schemas(&self) -> Vec<SubjectStatus> {
        self.inner.log.subjects()
    }
}
