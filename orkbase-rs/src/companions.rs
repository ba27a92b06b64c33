//! The files of one recording: what lies beside the one that messages name.
//!
//! Law: who deletes a recording deletes all of them; the other side, the packets and the sidecar tell as
//! much as the file itself.

/// What stands between the stem of a name and its extension: the side of a split recording, or the tape
/// as recorded.
const MARKS: [&str; 3] = [".local", ".remote", ".original"];

/// Names that other files of the recording may have, as [`file`](crate::message::tape::TapeMessage::filename)
/// names one of them (`2026/11/21/09/A.local.opus`); not all of them exist. `file` itself is not among
/// them.
#[must_use]
pub fn beside(file: &str) -> Vec<String> {
    let (folder, name) = file.rfind('/').map_or(("", file), |at| file.split_at(at + 1));
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "wav"));
    let stem = MARKS.iter().find_map(|mark| stem.strip_suffix(mark)).unwrap_or(stem);
    if stem.is_empty() {
        return Vec::new();
    }
    let with = |rest: &str| format!("{folder}{stem}{rest}");
    let mut names = vec![with(".pcapng"), with(".json"), with(".original.wav"), with(".wav")];
    for side in [".local.", ".remote.", "."] {
        names.push(with(&format!("{side}{extension}")));
    }
    names.retain(|name| name != file);
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_recording_is_named() {
        assert_eq!(
            beside("a/b/X.wav"),
            [
                "a/b/X.json",
                "a/b/X.local.wav",
                "a/b/X.original.wav",
                "a/b/X.pcapng",
                "a/b/X.remote.wav"
            ]
        );
        let split = beside("X.local.opus");
        for name in ["X.remote.opus", "X.original.wav", "X.wav", "X.opus", "X.pcapng", "X.json"] {
            assert!(split.iter().any(|known| known == name), "{name} of {split:?}");
        }
        assert!(!split.contains(&"X.local.opus".to_owned()));
        assert!(beside("a/.wav").is_empty());
        assert!(beside("X").contains(&"X.pcapng".to_owned()));
    }
}
