//! How to reach the database.

use std::fs::File;
use std::io::{self, Read};

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::config::PostgresUrl;
use crate::limits::{OUTBOX_STEP_MAX, OUTBOX_URL_BYTES_MAX};
use crate::outbox::store::StoreError;

/// Reads the URL from where it is. An error never repeats the text, which may hold a password.
pub(super) fn read(url: &PostgresUrl) -> Result<Config, StoreError> {
    let text = match url {
        PostgresUrl::Text(text) => text.clone(),
        PostgresUrl::Env(name) => std::env::var(name).map_err(|error| {
            StoreError::away_because(format!(
                "the environment variable `{name}`, which is to hold the URL: {error}"
            ))
        })?,
        PostgresUrl::File(path) => {
            let mut text = String::new();
            let read = File::open(path)
                .and_then(|file| file.take(OUTBOX_URL_BYTES_MAX as u64 + 1).read_to_string(&mut text))
                .and_then(|read| {
                    let fits = read <= OUTBOX_URL_BYTES_MAX;
                    if fits { Ok(()) } else { Err(io::Error::other("it is too long for a URL")) }
                });
            read.map_err(|error| {
                StoreError::away_because(format!(
                    "the file {}, which is to hold the URL: {error}",
                    path.display()
                ))
            })?;
            text
        }
    };
    let mut config: Config = text.trim().parse().map_err(StoreError::away)?;
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
        read(&PostgresUrl::Text(text.to_owned()))
    }

    #[test]
    fn a_database_is_shown_without_its_password() {
        let config = of("postgres://shop:secret@db.example/orders").unwrap();
        assert_eq!(describe(&config), "postgres db.example orders");
        assert_eq!(describe(&of("host=/run/postgresql user=shop").unwrap()), "postgres /run/postgresql shop");
        let error = of("postgres://shop:secret@db.example:port/orders").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_url_comes_from_a_file_too_and_tls_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("url");
        let from_file = || read(&PostgresUrl::File(file.clone()));
        assert!(from_file().unwrap_err().to_string().contains("which is to hold the URL"));
        std::fs::write(&file, "postgres://shop@db.example/orders\n").unwrap();
        assert_eq!(describe(&from_file().unwrap()), "postgres db.example orders");
        let none = read(&PostgresUrl::Env("TIDEGATE_TEST_NO_SUCH_VARIABLE".to_owned())).unwrap_err();
        assert!(none.to_string().contains("`TIDEGATE_TEST_NO_SUCH_VARIABLE`"), "{none}");
        let tls = of("postgres://db/shop?sslmode=require").unwrap_err().to_string();
        assert!(tls.contains("sslmode=require"), "{tls}");
    }
}
