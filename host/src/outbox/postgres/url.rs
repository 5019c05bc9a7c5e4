//! How to reach the database.

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::config::Secret;
use crate::limits::OUTBOX_STEP_MAX;
use crate::outbox::store::StoreError;

/// Reads the URL from where it is. An error never repeats the text, which may hold a password.
pub(super) fn read(url: &Secret) -> Result<Config, StoreError> {
    let text = url.read().map_err(StoreError::away)?;
    let text = text.trim();
    // The driver's own words may repeat what isn't to be seen.
    let mut config: Config = text.parse().map_err(|_| {
        StoreError::away_because(
            "the URL isn't one of PostgreSQL: write `postgres://USER:PASSWORD@HOST/DATABASE`, with what is special in the \
             password percent-encoded",
        )
    })?;
    // An `@` in the password, as it is, ends it early: its rest would be taken for the host, and shown as that.
    if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(name) if name.contains('@'))) {
        return Err(StoreError::away_because(
            "the URL has an `@` in its user or password: write it as `%40`",
        ));
    }
    if config.get_ssl_mode() == SslMode::Require {
        return Err(StoreError::away_because(
            "the URL says `sslmode=require`, and tidegate speaks no TLS to PostgreSQL: use a Unix socket, the loopback \
             interface, or a tunnel that encrypts, and `sslmode=disable`",
        ));
    }
    // A driver without TLS would ask for it in vain.
    config.ssl_mode(SslMode::Disable);
    if config.get_application_name().is_none() {
        config.application_name("tidegate outbox");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(OUTBOX_STEP_MAX);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(OUTBOX_STEP_MAX);
    }
    Ok(config)
}

/// The database, for people.
pub(super) fn describe(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgres {host} {database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Config, StoreError> {
        read(&Secret::from(text))
    }

    #[test]
    fn a_database_is_shown_without_its_password() {
        let config = of("postgres://shop:secret@db.example/orders").unwrap();
        assert_eq!(describe(&config), "postgres db.example orders");
        assert_eq!(describe(&of("host=/run/postgresql user=shop").unwrap()), "postgres /run/postgresql shop");
        for leaky in ["postgres://shop:se@cret@db.example/orders", "host=db password=abc cret=ghi"] {
            let error = of(leaky).unwrap_err().to_string();
            assert!(!error.contains("cret") && error.contains("the URL"), "{error}");
        }
        let error = of("postgres://shop:secret@db.example:port/orders").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn tls_is_refused_by_name() {
        let tls = of("postgres://db/shop?sslmode=require").unwrap_err().to_string();
        assert!(tls.contains("sslmode=require"), "{tls}");
    }
}
