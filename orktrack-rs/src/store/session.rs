//! The seam between the model and a database: SQL in the common words of `SQLite` and PostgreSQL,
//! `?1` for values, whole numbers and text only. What differs between the two is in their modules.

use std::fmt;

/// A value going in or coming out. Booleans are 0 and 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Nothing known.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
}

/// Why the database did not do it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DbError {
    /// What was asked breaks a law of the schema: it is the request's own fault.
    #[error("{0}")]
    Law(String),
    /// The database cannot be used now.
    #[error("{0}")]
    Down(String),
    /// The database has something that it should not have.
    #[error("the database holds something unexpected: {0}")]
    Strange(String),
    /// Not done, for a reason outside the database: what was changed for it is changed back.
    #[error("{0}")]
    Undone(String),
}

/// One row of an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row(pub Vec<Value>);

/// What can be read out of a [`Row`].
pub trait FromValue: Sized {
    /// The value, if it is of this kind.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Row {
    /// The value of a column, counted from 0.
    ///
    /// # Errors
    /// There is no such column, or it is of another kind.
    pub fn get<T: FromValue>(&self, column: usize) -> Result<T, DbError> {
        self.0
            .get(column)
            .and_then(T::from_value)
            .ok_or_else(|| DbError::Strange(format!("column {column}: {:?}", self.0.get(column))))
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            Value::Null | Value::Text(_) => None,
        }
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Null | Value::Int(_) => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            Value::Int(_) | Value::Text(_) => T::from_value(value).map(Some),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Int(i64::from(flag))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The values of a statement, in order.
macro_rules! args {
    ($($value:expr),* $(,)?) => { &[$($crate::store::session::Value::from($value)),*] };
}
pub(crate) use args;

/// A connection to a database.
pub trait Session: Send {
    /// The rows that a statement answers with.
    ///
    /// # Errors
    /// See [`DbError`].
    fn rows(&mut self, sql: &str, args: &[Value]) -> Result<Vec<Row>, DbError>;

    /// Carries out a statement; returns how many rows it touched.
    ///
    /// # Errors
    /// See [`DbError`].
    fn change(&mut self, sql: &str, args: &[Value]) -> Result<u64, DbError>;

    /// Carries out several statements without values.
    ///
    /// # Errors
    /// See [`DbError`].
    fn batch(&mut self, sql: &str) -> Result<(), DbError>;

    /// Begins a transaction that writes; no other one, here or elsewhere, runs beside it.
    ///
    /// # Errors
    /// See [`DbError`].
    fn begin(&mut self) -> Result<(), DbError>;

    /// Begins a transaction that sees one moment of the database.
    ///
    /// # Errors
    /// See [`DbError`].
    fn begin_reading(&mut self) -> Result<(), DbError>;

    /// Whether it still leads to the database that was opened.
    fn is_in_place(&mut self) -> bool;

    /// How the statement would be carried out, in the database's own words.
    ///
    /// # Errors
    /// See [`DbError`].
    fn plan(&mut self, sql: &str, args: &[Value]) -> Result<String, DbError>;
}

impl fmt::Debug for dyn Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// Shorthands over [`Session::rows`].
pub trait SessionExt: Session {
    /// The first row, if there is one.
    ///
    /// # Errors
    /// See [`DbError`].
    fn first(&mut self, sql: &str, args: &[Value]) -> Result<Option<Row>, DbError> {
        Ok(self.rows(sql, args)?.into_iter().next())
    }

    /// The first column of the first row, if there is one.
    ///
    /// # Errors
    /// See [`DbError`].
    fn value<T: FromValue>(&mut self, sql: &str, args: &[Value]) -> Result<Option<T>, DbError> {
        self.first(sql, args)?.map(|row| row.get(0)).transpose()
    }

    /// The first column of every row.
    ///
    /// # Errors
    /// See [`DbError`].
    fn column<T: FromValue>(&mut self, sql: &str, args: &[Value]) -> Result<Vec<T>, DbError> {
        self.rows(sql, args)?.iter().map(|row| row.get(0)).collect()
    }
}

impl<S: Session + ?Sized> SessionExt for S {}
