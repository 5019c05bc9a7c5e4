//! PostgreSQL. The server outlives the kills.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tidegate::config::{OutboxConfig, OutboxDatabase, Secret};
use tidegate::outbox::create_tables;

use super::account::RelayAccount;
use super::load;
use super::shop::{Shop, Till, settings};
use crate::place::{Place, Told};
use crate::postgres_server::{Server, Session};
use crate::scenario::{Account, Scenario, Surroundings};

/// The file in the directory of the run that says where the server is.
const URL: &str = "url";

/// Looks at the connections that are left of a killed process, and the pause between two of them.
const LOOKS_MAX: u32 = 6000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// See the module.
pub struct Postgres;

impl Scenario for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn promise(&self) -> &'static str {
        "each sale committed in an application's PostgreSQL database is one event, in the order of the commits"
    }

    fn surroundings(&self, place: &Place) -> Result<Surroundings> {
        let server = match Server::start() {
            Ok(server) => server,
            Err(why) => return Ok(Surroundings::Missing(why)),
        };
        let url = server.url(&server.database("template0"));
        fs::write(place.directory().join(URL), &url)?;
        create_tables(&self.config(place.directory()).database)?;
        Session::open(&url)
            .try_run("CREATE TABLE sales (n bigserial PRIMARY KEY, id text NOT NULL UNIQUE)")?;
        Ok(Surroundings::Ready(Box::new(server)))
    }

    fn load(&self, place: &Place, round: u32, told: &Told) -> Result<()> {
        load::run(self, place, round, told)
    }

    fn account(&self) -> Box<dyn Account> {
        Box::new(RelayAccount::new(&Postgres))
    }
}

impl Shop for Postgres {
    fn config(&self, directory: &Path) -> OutboxConfig {
        let url = Secret::File(directory.join(URL));
        settings(OutboxConfig::new(OutboxDatabase::Postgres(url), "/shop"))
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn Till>> {
        let file = directory.join(URL);
        let url = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        Ok(Box::new(Session::try_open(&url)?))
    }
}

impl Till for Session {
    fn sell(&mut self, id: &str, commits: bool) -> Result<()> {
        let end = if commits { "COMMIT" } else { "ROLLBACK" };
        self.try_run(&format!("BEGIN; INSERT INTO sales (id) VALUES ('{id}')"))?;
        self.try_run(&format!("INSERT INTO tidegate.outbox (id, type) VALUES ('{id}', 'Sold.v1'); {end}"))?;
        Ok(())
    }

    fn alone(&mut self) -> Result<()> {
        let others = "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        for _ in 0..LOOKS_MAX {
            if self.number(others) == 0 {
                return Ok(());
            }
            // Nobody unparks this thread, so this is the pause between two looks at the server.
            std::thread::park_timeout(LOOK_EVERY);
        }
        bail!("connections of the killed process don't end")
    }

    fn sales(&mut self, after: i64) -> Result<Vec<(i64, String)>> {
        let rows = self.query(&format!("SELECT n, id FROM sales WHERE n > {after} ORDER BY n"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn rows(&mut self, after: i64) -> Result<Vec<(i64, String)>> {
        let rows = self.query(&format!(
            "SELECT position, id FROM tidegate.outbox WHERE position > {after} ORDER BY position"
        ))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn unmarked(&mut self) -> Result<i64> {
        Ok(self.number("SELECT count(*) FROM tidegate.outbox WHERE emitted IS NULL"))
    }
}
