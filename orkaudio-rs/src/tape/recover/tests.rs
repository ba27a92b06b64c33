use super::*;
use crate::tape::wav::Layout;

const RECID: &str = "20261122_001000_AAAB";

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.root()).unwrap();
        home
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("audio")
    }

    /// A part of 100 frames whose header says this of its recording.
    fn part(&self, name: &str, said: &str) -> PathBuf {
        let mut bytes = wav::header(Layout { rate: 8_000, channels: 1 }, &[(b"ICMT", said)]);
        bytes.extend([7; 200]);
        let part = self.root().join(name);
        fs::write(&part, bytes).unwrap();
        part
    }

    fn recover(&self, part: &Path) -> io::Result<Option<Recovered>> {
        recover(&self.root(), part, None)
    }
}

fn said(recid: &str) -> String {
    format!("recid={recid}&stage=start&captureport=&timestamp=1&filename=&")
}

#[test]
fn a_recording_whose_name_leads_elsewhere_is_left_as_it_is() {
    let home = Home::new();
    fs::write(home.root().join("X.wav"), "finished").unwrap();
    for recid in ["../x", "..%2F..%2Fx", "/etc/x", "a%00b", "a%0d%0ab", ""] {
        for name in ["X.opus.part", "Y.wav.part"] {
            let part = home.part(name, &said(recid));
            let before = fs::read(&part).unwrap();
            assert!(home.recover(&part).is_err(), "{recid}");
            assert_eq!(fs::read(&part).unwrap(), before, "{recid}");
        }
    }
    let tags = format!("{}tags=rawfile%3A..%2Fforeign.pcapng&", said(RECID));
    let tape = home.recover(&home.part("Z.wav.part", &tags)).unwrap().unwrap();
    assert!(!tape.message.tags.contains_key("rawfile"));
}

#[test]
fn a_finished_tape_is_not_written_over() {
    let home = Home::new();
    let finished = home.root().join("X.wav");
    fs::write(&finished, "finished").unwrap();
    for name in ["X.wav.part", "X.opus.part"] {
        let tape = home.recover(&home.part(name, &said(RECID))).unwrap().unwrap();
        assert_eq!(tape.path, format!("X.{RECID}.wav"));
        assert_eq!(fs::read(&finished).unwrap(), b"finished");
        fs::remove_file(home.root().join(tape.path)).unwrap();
    }
    // Killed between giving it its name and taking the other away.
    let part = home.part("Y.wav.part", &said(RECID));
    fs::hard_link(&part, home.root().join("Y.wav")).unwrap();
    assert_eq!(home.recover(&part).unwrap().unwrap().path, "Y.wav");
    assert!(!part.exists() && home.root().join("Y.wav").exists());
}

#[test]
fn a_foreign_file_that_calls_itself_a_part_is_left_as_it_is() {
    let home = Home::new();
    let info = [&b"INFOICMT"[..], &[61, 0, 0, 0], said(RECID).as_bytes()].concat();
    let format = [1, 0, 1, 0, 64, 31, 0, 0, 128, 62, 0, 0, 2, 0, 16, 0];
    let chunks = [wav::chunk(*b"LIST", &info), wav::chunk(*b"fmt ", &format)].concat();
    let bytes = [&b"RIFF\0\0\0\0WAVE"[..], &chunks, b"data\0\0\0\0", &[1; 40]].concat();
    let part = home.root().join("X.wav.part");
    fs::write(&part, &bytes).unwrap();
    assert!(home.recover(&part).is_err());
    assert_eq!(fs::read(&part).unwrap(), bytes);
}
