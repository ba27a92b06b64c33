//! Every tape message that was seen from the original recorder, to the byte.

use super::*;

const OBSERVED: &str = include_str!("observed.txt");

fn messages() -> impl Iterator<Item = &'static str> {
    OBSERVED.lines().filter(|line| !line.starts_with('#'))
}

#[test]
pub(super) fn messages_of_the_original_are_taken_unchanged() {
    let bench = Bench::new();
    bench.tell(INIT);
    assert_eq!(messages().count(), 20);
    for query in messages() {
        let told = bench.tell(query);
        assert!(told.head.starts_with("HTTP/1.0 200 OK"), "{query}: {}", told.head);
        assert_eq!((told.body.as_str(), told.header("x-ork-health")), (TAKEN, None), "{query}");
    }
    let state = |bench: &Bench| {
        let mut all: Vec<String> = bench
            .recordings()
            .iter()
            .map(|one| {
                let tags: Vec<String> =
                    one.tags.iter().map(|(key, text)| format!("{key}:{text}")).collect();
                format!(
                    "{} {} {} {} {} {} {} [{}] {}",
                    one.recid,
                    one.state,
                    one.duration,
                    one.localparty,
                    one.remoteparty,
                    one.direction,
                    one.ondemand,
                    tags.join(" "),
                    one.filename.rsplit('/').next().unwrap(),
                )
            })
            .collect();
        all.sort_unstable();
        all
    };
    let expected = [
        "20261121_022048_ODHS ready 1 10.1.0.1 10.2.0.1 unkn false [] 20261121_022048_ODHS.wav",
        "20261121_022201_EVJD ready 7 sipp 4321 out false [] 20261121_022201_EVJD.wav",
        "20261121_022332_KMDJ ready 25 100000 200000 out false [] 20261121_022332_KMDJ.wav",
        "20261121_030220_LWCT ready 30 100005 200005 out true [ondemand:true] 20261121_030220_LWCT.wav",
        "20261121_030736_UIFX live 0 100005 200005 out true [ondemand:true] 20261121_030736_UIFX",
        "20261121_030736_UIFZ stopped 30 100007 200007 out false [] 20261121_030736_UIFZ",
        "20261121_031126_FZDI stopped 26 100000 200000 out false [holdduration:0] 20261121_031126_FZDI.wav",
    ];
    assert_eq!(state(&bench), expected);
    // All of it again, in any order: nothing is there twice, nothing is as it was earlier.
    let mut again: Vec<&str> = messages().collect();
    again.reverse();
    for query in again {
        assert_eq!(bench.tell(query).body, TAKEN, "{query}");
    }
    assert_eq!(state(&bench), expected);
}
