//! How fast the tracker is: `messages` per second with their latency, and `search` over many recordings.

use clap::{Parser, Subcommand};
use orkbase::message::{
    Message,
    tape::{Direction, KeepSide, Stage, TapeMessage},
    url,
};
use orktrack::{
    config::Config,
    store::{Query, Reader, Scope, Sort, once, search, users},
};
use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

#[derive(Parser)]
struct Arguments {
    /// A folder on the disk that is to be measured, or postgres://...
    #[arg(long)]
    database: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// start, stop and ready of many calls, each answered when it is on the disk
    Messages {
        #[arg(long, default_value_t = 16)]
        connections: usize,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Every filter over generated recordings; they are made first if they are not there
    Search {
        #[arg(long, default_value_t = 1_000_000)]
        recordings: u64,
    },
}

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Done<()> {
    let arguments = Arguments::parse();
    match arguments.what {
        What::Messages { connections, seconds } => {
            messages(arguments.database, connections, Duration::from_secs(seconds))
        }
        What::Search { recordings } => find(&arguments.database, recordings),
    }
}

fn say(line: &str) -> Done<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// The n-th call: 2000 people, a week of busy hours, some tags.
fn call(n: u64, stage: Stage) -> TapeMessage {
    let recid = format!("20261121_{n:08}_AAAB");
    let party = 5000 + n * 7919 % 2000;
    let remote = 31_200_000_000 + n * 104_729 % 50_000;
    let tags = [("codec", "PCMU".to_owned()), ("case", (n % 5000).to_string())];
    TapeMessage {
        stage,
        captureport: "AAAB".to_owned(),
        timestamp: 1_790_000_000 + n / 2,
        filename: format!("2026/11/21/02/{recid}.wav"),
        localparty: party.to_string(),
        localentrypoint: String::new(),
        remoteparty: format!("+{remote}"),
        direction: if n.is_multiple_of(3) { Direction::Out } else { Direction::In },
        duration: if stage == Stage::Start { 0 } else { n * 31 % 3600 },
        service: "orkaudio".to_owned(),
        localip: "10.1.0.1".to_owned(),
        remoteip: "10.2.0.1".to_owned(),
        nativecallid: format!("{n}@pbx"),
        tags: tags
            .map(|(key, text)| (key.to_owned(), text))
            .into_iter()
            .collect::<BTreeMap<_, _>>(),
        ondemand: false,
        side: KeepSide::Both,
        live: true,
        hostname: "rec1".to_owned(),
        recid,
    }
}

fn messages(database: PathBuf, connections: usize, length: Duration) -> Done<()> {
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), database, ..Config::default() };
    let tracker = orktrack::start(&config)?;
    let address = tracker.address();
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let work: Vec<_> = (0..connections)
        .map(|lane| {
            let name = format!("lane-{lane}");
            std::thread::Builder::new().name(name).spawn(move || tell(address, lane, length))
        })
        .collect::<Result<_, _>>()?;
    let mut times = Vec::new();
    for lane in work {
        times.extend(lane.join().map_err(|_| "a lane broke")??);
    }
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default();
    let count = u32::try_from(times.len()).map(f64::from)?;
    say(&format!(
        "messages {count}: {:.0} a second, p50 {:?}, p99 {:?}, p99.9 {:?}, CPU {:.2} of a core (with the senders), {} commits",
        count / wall,
        at(500),
        at(990),
        at(999),
        cpu / wall,
        tracker.counters().store_commits.now(),
    ))?;
    tracker.stop();
    Ok(())
}

/// What this thread has had of a processor: on a busy machine the rest of the time is others'.
fn on_processor() -> Done<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split_whitespace().next().ok_or("no schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}

/// User and system time of this process, from `/proc` (clock ticks are hundredths of a second).
fn cpu_seconds() -> Done<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Ok(f64::from(ticks) / 100.0)
}

/// One message after another on one connection; returns how long each took.
fn tell(address: SocketAddr, lane: usize, length: Duration) -> Done<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let (begun, mut times) = (Instant::now(), Vec::new());
    let mut n = u64::try_from(lane)? * 10_000_000;
    while begun.elapsed() < length {
        n += 1;
        for stage in [Stage::Start, Stage::Stop, Stage::Ready] {
            let query = url::encode(&call(n, stage).fields());
            let asked = Instant::now();
            let head = "HTTP/1.1\r\nHost: bench\r\n\r\n";
            stream.write_all(format!("GET /orktrack/command?{query} {head}").as_bytes())?;
            let mut line = String::new();
            answers.read_line(&mut line)?;
            if !line.contains(" 200 ") {
                return Err(format!("not stored: {line}").into());
            }
            let mut bytes = 0;
            loop {
                line.clear();
                answers.read_line(&mut line)?;
                if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    bytes = text.trim().parse()?;
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; bytes];
            answers.read_exact(&mut body)?;
            times.push(asked.elapsed());
        }
    }
    Ok(times)
}

fn find(database: &std::path::Path, recordings: u64) -> Done<()> {
    fill(database, recordings)?;
    let mut reader = Reader::open(database)?;
    let all = Query::default;
    let text = |text: &str| Some(text.to_owned());
    let queries = [
        ("newest", all()),
        (
            "a day in the middle",
            Query { since: Some(1_790_100_000), until: Some(1_790_186_400), ..all() },
        ),
        ("party", Query { party: text("5007"), ..all() }),
        ("remote party", Query { party: text("+31200000000"), ..all() }),
        ("person", Query { user: Some(7), ..all() }),
        ("group of 20", Query { group: Some(1), ..all() }),
        ("group of 1900", Query { group: Some(2), ..all() }),
        ("tag", Query { tag: Some(("case".to_owned(), "77".to_owned())), ..all() }),
        ("direction", Query { direction: text("out"), ..all() }),
        ("direction nobody has", Query { direction: text("unkn"), ..all() }),
        ("longer than 59 min", Query { min_duration: Some(3540), ..all() }),
        ("text of one word", Query { text: text("31200000000"), ..all() }),
        ("text of two words", Query { text: text("pcmu 5007"), ..all() }),
        (
            "person and tag",
            Query { user: Some(7), tag: Some(("codec".to_owned(), "PCMU".to_owned())), ..all() },
        ),
        ("longest", Query { sort: Sort::Longest, ..all() }),
        (
            "longest of a day",
            Query {
                since: Some(1_790_100_000),
                until: Some(1_790_186_400),
                sort: Sort::Longest,
                ..all()
            },
        ),
        (
            "longest of an hour",
            Query {
                since: Some(1_790_100_000),
                until: Some(1_790_103_600),
                sort: Sort::Longest,
                ..all()
            },
        ),
        ("longest, one direction", Query { direction: text("out"), sort: Sort::Longest, ..all() }),
        (
            "longest, no such direction",
            Query { direction: text("unkn"), sort: Sort::Longest, ..all() },
        ),
        ("longest of a party", Query { party: text("5007"), sort: Sort::Longest, ..all() }),
        ("longest of a group of 20", Query { group: Some(1), sort: Sort::Longest, ..all() }),
        ("longest with a common word", Query { text: text("pcmu"), sort: Sort::Longest, ..all() }),
        ("very long, newest first", Query { min_duration: Some(3599), ..all() }),
        (
            "very long, a common word",
            Query { min_duration: Some(3599), text: text("pcmu"), ..all() },
        ),
        ("common word", Query { text: text("pcmu"), ..all() }),
        ("oldest", Query { sort: Sort::Oldest, ..all() }),
        (
            "scope of 20 people",
            Query { scope: Scope::People { groups: vec![1], user: None }, ..all() },
        ),
        (
            "scope of 1900 people, party",
            Query {
                scope: Scope::People { groups: vec![2], user: None },
                party: text("5007"),
                ..all()
            },
        ),
    ];
    for (name, query) in queries {
        let mut times = Vec::new();
        let (mut found, mut cursor) = (0, None);
        let mut ran = Duration::ZERO;
        for _ in 0..20 {
            let query = Query { cursor, ..query.clone() };
            let (asked, before) = (Instant::now(), on_processor()?);
            let page = reader.recordings(&query)?;
            times.push(asked.elapsed());
            ran = ran.max(on_processor()?.saturating_sub(before));
            found += page.recordings.len();
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        let worst = times.last().copied().unwrap_or_default();
        let pages = times.len();
        say(&format!(
            "{name:<28} {pages:>2} pages, {found:>5} recordings, median {middle:?}, slowest {worst:?}, at most {ran:?} on the processor"
        ))?;
        if ran > Duration::from_millis(50) {
            let plan = reader.read(|session| search::plan(session, &query))?;
            let plan: Vec<&str> = plan.lines().take(12).collect();
            say(&format!("    over 50 ms:\n{}", plan.join("\n")))?;
        }
    }
    Ok(())
}

/// Recordings made in one transaction.
const BATCH: u64 = 100_000;
/// A million messages would take many minutes; these make the rows that they would.
const GENERATE: [&str; 4] = [
    "INSERT INTO tape (id, hostname, recid, state, started, stopped, ready, duration, captureport,
         filename, localparty, localentrypoint, remoteparty, direction, service, localip, remoteip,
         nativecallid, ondemand, side, live)
     RANGE SELECT i + 1, 'rec1', '20261121_' || (10000000 + i) || '_AAAB', 'ready',
         1790000000 + i / 2, 1790000000 + i / 2 + i * 31 % 3600, 1795000000, i * 31 % 3600, 'AAAB',
         '2026/11/21/02/20261121_' || i || '_AAAB.wav', CAST(5000 + i * 7919 % 2000 AS TEXT), '',
         '+' || (31200000000 + i * 104729 % 50000),
         CASE WHEN i % 3 = 0 THEN 'out' ELSE 'in' END, 'orkaudio', '10.1.0.1', '10.2.0.1',
         i || '@pbx', 0, 'both', 1 FROM n",
    "INSERT INTO tape_tag (tape, key, value)
     RANGE SELECT i + 1, 'codec', 'PCMU' FROM n UNION ALL
         SELECT i + 1, 'case', CAST(i % 5000 AS TEXT) FROM n",
    "INSERT INTO segment (tape, side, since, orkuser, loginstring)
     RANGE SELECT i + 1, 'local', 1790000000 + i / 2, i * 7919 % 2000 + 1, CAST(5000 + i * 7919 % 2000 AS TEXT) FROM n",
    "INSERT INTO tape_key (word, started, tape)
     RANGE SELECT w, 1790000000 + i / 2, i + 1 FROM (
         SELECT 'party:' || (5000 + i * 7919 % 2000) AS w, i FROM n
         UNION ALL SELECT 'party:+' || (31200000000 + i * 104729 % 50000), i FROM n
         UNION ALL SELECT 'user:' || (i * 7919 % 2000 + 1), i FROM n
         UNION ALL SELECT 'tag:codec=PCMU', i FROM n
         UNION ALL SELECT 'tag:case=' || (i % 5000), i FROM n
         UNION ALL SELECT 'word:' || (5000 + i * 7919 % 2000), i FROM n
         UNION ALL SELECT 'word:' || (31200000000 + i * 104729 % 50000), i FROM n
         UNION ALL SELECT 'word:pcmu', i FROM n
         UNION ALL SELECT 'word:' || i || '@pbx', i FROM n) x ORDER BY w, i",
];

fn fill(database: &std::path::Path, recordings: u64) -> Done<()> {
    let begun = Instant::now();
    let there = Reader::open(database).and_then(|mut reader| {
        let last = format!("20261121_{}_AAAB", 10_000_000 + recordings - 1);
        reader.read(|session| search::by_name(session, &last))
    });
    if matches!(there, Ok(Some(_))) {
        return Ok(());
    }
    once(database, |session| {
        for n in 0..2000_u64 {
            let group = if n < 20 {
                "Few"
            } else if n < 100 {
                "Other"
            } else {
                "Many"
            };
            let change = users::Change {
                loginstring: (5000 + n).to_string(),
                firstname: Some(format!("Person{n}")),
                group: Some(if n == 20 { "Many" } else { group }.to_owned()),
                ..users::Change::default()
            };
            users::put(session, &change, 5)?;
        }
        Ok(())
    })?;
    for batch in 0..recordings.div_ceil(BATCH) {
        let (from, to) = (batch * BATCH, ((batch + 1) * BATCH).min(recordings));
        once(database, |session| {
            for statement in GENERATE {
                let range = format!(
                    "WITH RECURSIVE n(i) AS (SELECT CAST({from} AS BIGINT) UNION ALL
                     SELECT i + 1 FROM n WHERE i + 1 < {to})"
                );
                session.batch(&statement.replace("RANGE", &range))?;
            }
            Ok(())
        })?;
    }
    say(&format!("made {recordings} recordings in {:?}", begun.elapsed()))
}
