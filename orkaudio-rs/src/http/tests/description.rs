//! The description of the doors against what they do.

use super::*;
use crate::http::{command::HARMLESS, errand::CLASSES, pages::DESCRIPTION, verb::Verb};
use std::collections::BTreeSet;

fn description() -> Value {
    serde_json::from_str(DESCRIPTION).unwrap()
}

/// Status and content type of an answer.
fn outline(answer: &str) -> (&str, &str) {
    let kind = answer.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap();
    (answer.split(' ').nth(1).unwrap(), kind)
}

fn resolved<'a>(doc: &'a Value, schema: &'a Value) -> &'a Value {
    let name = schema["$ref"].as_str();
    name.map_or(schema, |name| doc.pointer(name.strip_prefix('#').unwrap()).unwrap())
}

/// Says what of `value` is not as its schema has it.
fn mismatch(doc: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    let schema = resolved(doc, schema);
    let kinds = match schema["type"].as_array() {
        Some(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        None => vec![schema["type"].as_str()?],
    };
    let is = |kind: &&str| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    if !kinds.iter().any(is) {
        return Some(format!("{at} is {value}, not {kinds:?}"));
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(key).is_none() {
            return Some(format!("{at} has no {key}"));
        }
    }
    for (key, part) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(key).unwrap_or(&schema["additionalProperties"]);
        if let Some(wrong) = mismatch(doc, known, part, &format!("{at}.{key}")) {
            return Some(wrong);
        }
    }
    let mut parts = value.as_array().into_iter().flatten();
    parts.find_map(|part| mismatch(doc, &schema["items"], part, &format!("{at}[]")))
}

/// The answer is one of those described for this operation.
fn described(doc: &Value, pointer: &str, answer: &str) {
    let (status, kind) = outline(answer);
    let content = doc.pointer(&format!("{pointer}/responses/{status}/content"));
    let content = content.unwrap_or_else(|| panic!("{pointer}: no {status} in the description"));
    let schema = content.get(kind).unwrap_or_else(|| panic!("{pointer}: {status} is {kind}"));
    if kind == "application/json" {
        let body = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(mismatch(doc, &schema["schema"], &body, pointer), None);
    }
}

#[test]
fn every_command_is_described_and_answers_so() {
    let (doc, bench) = (description(), Bench::open());
    let parameters = doc["paths"]["/command"]["get"]["parameters"].as_array().unwrap();
    let named = |name: &str| parameters.iter().find(|p| p["name"] == name).unwrap();
    let types = named("type")["schema"]["enum"].as_array().unwrap();
    let types: BTreeSet<&str> = types.iter().map(|kind| kind.as_str().unwrap()).collect();
    let known = Verb::NAMES.map(|(name, _)| name).into_iter().chain(CLASSES).chain(HARMLESS);
    assert_eq!(types, known.chain(["capture"]).collect::<BTreeSet<_>>());
    for class in types {
        for accept in ["text/xml", "text/single-line", "application/json"] {
            for query in ["", "&party=100000", "&party=nobody", "&party=busy"] {
                let head = format!("Accept: {accept}\r\n");
                let answer =
                    bench.ask(format!("GET /command?type={class}{query} HTTP/1.0\r\n{head}\r\n"));
                described(&doc, "/paths/~1command/get", &answer);
                let body = format!("type={class}{query}");
                let form = format!("{head}Content-Length: {}\r\n", body.len());
                let answer = bench.ask(format!("POST /command HTTP/1.0\r\n{form}\r\n{body}"));
                described(&doc, "/paths/~1command/post", &answer);
            }
        }
    }
    described(&doc, "/paths/~1command/get", &bench.get("/command?type=deletetape"));
}

#[test]
fn every_page_is_described_and_answers_so() {
    let (doc, bench) = (description(), Bench::open());
    let ours = doc["paths"].as_object().unwrap();
    let pages =
        ours.iter().filter(|(path, what)| what.get("servers").is_none() && *path != "/command");
    let pages: BTreeSet<&str> = pages.map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        pages,
        BTreeSet::from(["/api/status", "/healthz", "/metrics", "/openapi.json", "/readyz"])
    );
    let all = |expected: &str| {
        for page in &pages {
            let answer = bench.get(page);
            described(&doc, &format!("/paths/{}/get", page.replace('/', "~1")), &answer);
            if *page == "/readyz" {
                assert_eq!(outline(&answer).0, expected);
            }
        }
    };
    all("200");
    bench.desk.problems.lock().unwrap().push("the interface eth0 is not there".to_owned());
    all("503");
    assert!(bench.get("/readyz").contains("eth0 is not there"));
    assert!(bench.get("/openapi.json").ends_with(DESCRIPTION));
}

#[test]
fn a_name_refers_to_something() {
    fn refs<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        found.extend(value.get("$ref").and_then(Value::as_str));
        for part in value.as_object().into_iter().flat_map(|map| map.values()) {
            refs(part, found);
        }
        for part in value.as_array().into_iter().flatten() {
            refs(part, found);
        }
    }
    let doc = description();
    let mut found = Vec::new();
    refs(&doc, &mut found);
    assert!(found.len() > 5);
    for name in found {
        assert!(doc.pointer(name.strip_prefix('#').unwrap()).is_some(), "{name}");
    }
}
