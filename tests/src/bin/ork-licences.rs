//! Refuses dependencies whose licence is not known to be fit: read from `cargo metadata` on standard
//! input. `scripts/check` calls it where cargo-deny is not installed.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::process::ExitCode;

use serde_json::Value;

/// Fit for a program under MIT OR Apache-2.0. The same list stands in `.deny.toml`.
const FIT: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn main() -> ExitCode {
    match judge(std::io::stdin().lock()) {
        Ok((fit, refused)) if refused.is_empty() => {
            println!("{fit} packages, every licence fit");
            ExitCode::SUCCESS
        }
        Ok((_, refused)) => {
            for line in refused {
                eprintln!("{line}");
            }
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("ork-licences: want the output of cargo metadata: {why}");
            ExitCode::from(2)
        }
    }
}

fn judge(metadata: impl std::io::Read) -> Result<(usize, Vec<String>), String> {
    let metadata: Value = serde_json::from_reader(metadata).map_err(|e| e.to_string())?;
    let packages = metadata.get("packages").and_then(Value::as_array).ok_or("no packages")?;
    let mut refused = Vec::new();
    for package in packages {
        let text = |key: &str| package.get(key).and_then(Value::as_str).unwrap_or("");
        let licence = text("license");
        if !fit(licence) {
            let (name, version) = (text("name"), text("version"));
            refused.push(format!("{name} {version}: licence {licence:?} is not in the list"));
        }
    }
    Ok((packages.len(), refused))
}

/// Evaluates an SPDX expression: any of an OR, all of an AND.
fn fit(expression: &str) -> bool {
    // The old spelling of OR.
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = expression.split_whitespace().collect();
    let mut words = words.as_slice();
    any(&mut words) == Some(true) && words.is_empty()
}

// None where the expression breaks off.

fn any(words: &mut &[&str]) -> Option<bool> {
    let mut fit = all(words)?;
    while let ["OR", rest @ ..] = words {
        *words = rest;
        fit |= all(words)?;
    }
    Some(fit)
}

fn all(words: &mut &[&str]) -> Option<bool> {
    let mut fit = one(words)?;
    while let ["AND", rest @ ..] = words {
        *words = rest;
        fit &= one(words)?;
    }
    Some(fit)
}

fn one(words: &mut &[&str]) -> Option<bool> {
    match *words {
        ["(", rest @ ..] => {
            *words = rest;
            let fit = any(words)?;
            let [")", rest @ ..] = *words else { return None };
            *words = rest;
            Some(fit)
        }
        [name, "WITH", exception, rest @ ..] => {
            *words = rest;
            Some(FIT.contains(&format!("{name} WITH {exception}").as_str()))
        }
        [name, rest @ ..] => {
            *words = rest;
            Some(FIT.contains(name))
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_understood() {
        for good in [
            "MIT",
            "MIT OR GPL-3.0-only",
            "MIT/Apache-2.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR MIT",
        ] {
            assert!(fit(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0-only",
            "AGPL-3.0-or-later",
            "MIT AND GPL-2.0-only",
            "(MIT OR Apache-2.0) AND LGPL-2.1-only",
            "MIT OR",
            "(MIT",
            "MIT MIT",
            "Proprietary",
        ] {
            assert!(!fit(bad), "{bad}");
        }
    }
}
