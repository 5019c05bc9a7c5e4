use crate::{Attribute, Data, Failure, Raw, Timestamp};

/// A `CloudEvents` 1.0 event with its data as `T`. `source` and `id` together identify it.
///
/// ```
/// use tidegate_plugin::{Outgoing, testing};
///
/// let event = testing::delivery(Outgoing::new("Greeting.v1").subject("world").json("hello")?).event;
/// assert_eq!((event.event_type.as_str(), event.key()), ("Greeting.v1", "world"));
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event<T = Raw> {
    /// Unique within the source.
    pub id: String,
    /// Where the event comes from, a URI reference.
    pub source: String,
    /// What happened, for example `QuakeAlert.v1`.
    pub event_type: String,
    /// What it happened to.
    pub subject: Option<String>,
    /// When it happened: RFC 3339, as the producer wrote it.
    pub time: Option<String>,
    /// The media type of the data.
    pub datacontenttype: Option<String>,
    /// The schema of the data, a URI.
    pub dataschema: Option<String>,
    /// Extension attributes, each name once, in ascending order.
    pub extensions: Vec<(String, Attribute)>,
    /// The data.
    pub data: T,
}

impl Event {
    /// The same event with its data decoded.
    ///
    /// # Errors
    ///
    /// A permanent failure with code `bad-data` if the data isn't a `T`.
    pub fn decode<T: Data>(mut self) -> Result<Event<T>, Failure> {
        let raw = std::mem::take(&mut self.data);
        let data = T::decode(raw, self.datacontenttype.as_deref())?;
        Ok(self.with_data(data))
    }

    /// The data as a `T`.
    ///
    /// ```
    /// use tidegate_plugin::{Outgoing, testing};
    ///
    /// let event = testing::delivery(Outgoing::new("Greeting.v1").json("hello")?).event;
    /// assert_eq!(event.decode_data::<String>()?, "hello");
    /// # Ok::<(), tidegate_plugin::Failure>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A permanent failure with code `bad-data` if the data isn't a `T`.
    pub fn decode_data<T: Data>(&self) -> Result<T, Failure> {
        T::decode(self.data.clone(), self.datacontenttype.as_deref())
    }
}

impl<T> Event<T> {
    /// The extension attribute of this name.
    pub fn extension(&self, name: &str) -> Option<&Attribute> {
        self.extensions.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// What picks the event's partition and carries its order: `partitionkey`, else `subject`, else `id`.
    pub fn key(&self) -> &str {
        self.extension("partitionkey")
            .and_then(Attribute::as_str)
            .or(self.subject.as_deref())
            .unwrap_or(&self.id)
    }

    /// The same event without its data, and that.
    pub(crate) fn split_data(self) -> (Event<()>, T) {
        self.replace_data(())
    }

    /// The same event with other data.
    fn with_data<U>(self, data: U) -> Event<U> {
        self.replace_data(data).0
    }

    /// The same event with other data, and its own.
    fn replace_data<U>(self, data: U) -> (Event<U>, T) {
        let event = Event {
            id: self.id,
            source: self.source,
            event_type: self.event_type,
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            extensions: self.extensions,
            data,
        };
        (event, self.data)
    }
}

/// An event handed to a consumer. Every attempt at it has the same event, topic, partition and offset.
///
/// ```
/// use tidegate_plugin::{Outgoing, testing};
///
/// let delivery = testing::delivery(Outgoing::new("Greeting.v1").json("hello")?);
/// let greeting = delivery.decode::<String>()?;
/// assert_eq!((greeting.attempt, greeting.event.data.as_str()), (1, "hello"));
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery<T = Raw> {
    /// The topic that the event was read from.
    pub topic: String,
    /// The topic's partition.
    pub partition: u32,
    /// The event's place in the partition: strictly increasing, with gaps.
    pub offset: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// Counts from 1.
    pub attempt: u32,
    /// When the first attempt was made.
    pub first_attempt: Timestamp,
    /// Whether an operator put the event back to work from the dead-letter queue.
    pub redriven: bool,
    /// The event.
    pub event: Event<T>,
}

impl Delivery {
    /// The same delivery with its data decoded.
    ///
    /// # Errors
    ///
    /// A permanent failure with code `bad-data` if the data isn't a `T`.
    pub fn decode<T: Data>(mut self) -> Result<Delivery<T>, Failure> {
        let raw = std::mem::take(&mut self.event.data);
        let data = T::decode(raw, self.event.datacontenttype.as_deref())?;
        Ok(self.with_data(data))
    }
}

impl<T> Delivery<T> {
    /// The same delivery with other data.
    pub(crate) fn with_data<U>(self, data: U) -> Delivery<U> {
        Delivery {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            appended: self.appended,
            attempt: self.attempt,
            first_attempt: self.first_attempt,
            redriven: self.redriven,
            event: self.event.with_data(data),
        }
    }
}
