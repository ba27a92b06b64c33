//! The settings of a TOML text.

use super::{Mistakes, Schema, Value, Written, value::MIXED};
use std::ops::Range;
use toml::de::{DeArray, DeInteger, DeTable, DeValue};

/// Reads a text; `name` is for places.
pub(super) fn read(
    schema: &Schema<'_>,
    name: &str,
    text: &str,
    mistakes: &mut Mistakes,
) -> Vec<Written> {
    let place = |span: &Range<usize>| {
        let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{name}:{line}")
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = place(&error.span().unwrap_or_default());
        mistakes.add(place, format!("not TOML: {}", error.message()));
    }
    let mut found = Vec::new();
    flatten(schema, table.get_ref(), "", &mut found);
    // A table has its keys in the order of the alphabet; people read from top to bottom.
    found.sort_by_key(|(start, _)| *start);
    let mut written = Vec::new();
    for (start, found) in found {
        let place = place(&(start..start));
        match found {
            Ok((key, value)) => written.push(Written { key, value, place }),
            Err(what) => mistakes.add(place, what),
        }
    }
    written
}

/// A setting or what is wrong with it, and where.
type Found = (usize, Result<(String, Value), String>);

fn flatten(schema: &Schema<'_>, table: &DeTable<'_>, section: &str, found: &mut Vec<Found>) {
    let sections = schema.sections();
    for (name, value) in table {
        let start = name.span().start;
        let name = name.get_ref().as_ref();
        let key = match section {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        let value = value.get_ref();
        let known = schema.keys.contains(&key.as_str());
        let result = match value.as_table() {
            _ if known => Ok((key, plain(value))),
            Some(inner) if sections.contains(&key.as_str()) => {
                flatten(schema, inner, name, found);
                continue;
            }
            Some(_) if section.is_empty() => Err(schema.unknown_section(name)),
            Some(_) | None => Err(schema.unknown(&key)),
        };
        found.push((start, result));
    }
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => {
            number(integer).map_or(Value::Other("a number out of range"), Value::Number)
        }
        DeValue::Boolean(bool) => Value::Bool(*bool),
        DeValue::Array(array) => list(array).map_or(Value::Other(MIXED), Value::List),
        other @ (DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_)) => {
            Value::Other(other.type_str())
        }
    }
}

fn number(integer: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn list(array: &DeArray<'_>) -> Option<Vec<String>> {
    let entry = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => number(integer).map(|number| number.to_string()),
        DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    array.iter().map(|value| entry(value.get_ref())).collect()
}
