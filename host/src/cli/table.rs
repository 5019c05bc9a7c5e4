//! Tables for people.

use std::fmt::Display;

use super::error::CliError;
use super::output::Output;

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table with a heading, as wide as its widest cells, whose last column is never padded.
pub struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
    /// Whether the heading, and some rows, are printed already.
    is_begun: bool,
}

/// Rows that are in memory at once in a table without an end: its columns are as wide as the cells of so many rows.
const ROWS_AT_ONCE: usize = 1000;

/// The cells of a row.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(($cell).to_string()),*] };
}
pub(crate) use row;

impl Table {
    /// A table of these columns. A heading that begins with `>` stands on the right, as its numbers do.
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        let column = |heading: &'static str| match heading.strip_prefix('>') {
            Some(heading) => (heading, Side::Right),
            None => (heading, Side::Left),
        };
        Self { columns: headings.map(column).into(), rows: Vec::new(), is_begun: false }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<String>) {
        assert!(row.len() == self.columns.len(), "a row has a cell for each column");
        self.rows.push(row);
    }

    /// Adds a row to a table that may have very many, and prints what has come together from time to time.
    pub fn push_through(&mut self, row: Vec<String>, output: &mut Output) -> Result<(), CliError> {
        self.push(row);
        if self.rows.len() < ROWS_AT_ONCE {
            return Ok(());
        }
        self.print(output, "")?;
        self.rows.clear();
        self.is_begun = true;
        Ok(())
    }

    /// Prints it, or what to say where it has no row.
    pub fn print(&self, output: &mut Output, empty: impl Display) -> Result<(), CliError> {
        if self.rows.is_empty() {
            return if self.is_begun { Ok(()) } else { output.line(empty) };
        }
        self.lines().into_iter().try_for_each(|line| output.line(line))
    }

    /// Its lines.
    pub fn lines(&self) -> Vec<String> {
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&headings).chain(&self.rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |row: &&Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.columns);
            let cells: Vec<String> = cells
                .map(|((cell, width), (_, side))| match side {
                    Side::Left => format!("{cell:<width$}"),
                    Side::Right => format!("{cell:>width$}"),
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        rows.iter().skip(usize::from(self.is_begun)).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let mut table = Table::new(["NAME", ">LAG", "STATE"]);
        table.push(row!["stats", 7, "idle"]);
        table.push(row!["übung", 1200, ""]);
        assert_eq!(table.lines(), ["NAME    LAG  STATE", "stats     7  idle", "übung  1200"]);
    }
}
