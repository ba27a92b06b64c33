//! Replays generated captures through a recorder and prints what it cost, as a Markdown table.
//!
//! `scripts/bench` builds everything and calls this. The recorder, the generator, the judge and the
//! measuring each run as a process of their own, so that none pays for another.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use ork_tests::generator::truth::Truth;
use ork_tests::measure::Cost;
use serde_json::Value;

#[derive(Parser)]
#[command(about, version)]
struct Arguments {
    /// Concurrent calls, a row for each.
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000,5000,10000")]
    calls: Vec<u32>,
    /// Seconds of audio in each call.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Most RTP packets of a row: its calls are shorter then.
    #[arg(long, default_value_t = 5_000_000)]
    packets: u32,
    /// Measured replays of each capture; the table has the median.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// More words for `ork-gen calls`, as `--gen=--srtp`; repeat for each.
    #[arg(long = "gen", value_name = "WORD", allow_hyphen_values = true)]
    gen_words: Vec<String>,
    /// Captures and recordings go into a folder of this one's.
    #[arg(long)]
    dir: PathBuf,
    /// Keep the captures for the next time.
    #[arg(long)]
    keep: bool,
    /// The recorder of this repository.
    #[arg(long)]
    orkaudio: PathBuf,
    /// Measure this recorder instead: a command with {capture} and {output} in it. It is split at
    /// blanks into an argument vector, without a shell; its tapes are any *.wav under {output}.
    #[arg(long)]
    against: Option<String>,
    /// Seconds one replay may take.
    #[arg(long, default_value_t = 600)]
    limit: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = Bench::new(&arguments).and_then(|bench| bench.run());
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("ork-bench: frames are wrong, see the table");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("ork-bench: {why}");
            ExitCode::from(2)
        }
    }
}

struct Bench<'a> {
    arguments: &'a Arguments,
    tools: PathBuf,
    captures: PathBuf,
    scratch: PathBuf,
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        remove(&self.scratch);
        if !self.arguments.keep {
            remove(&self.captures);
        }
    }
}

fn remove(folder: &Path) {
    if folder.exists()
        && let Err(e) = fs::remove_dir_all(folder)
    {
        eprintln!("ork-bench: {}: {e}", folder.display());
    }
}

/// One measured replay.
struct Round {
    cost: Cost,
    floor: Cost,
    bytes: u64,
    verdict: Value,
}

impl<'a> Bench<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|e| e.to_string())?;
        let tools = own.parent().ok_or("no folder of my own")?.to_path_buf();
        let bench = Self {
            arguments,
            tools,
            captures: arguments.dir.join("ork-bench-captures"),
            scratch: arguments.dir.join(format!("ork-bench-{}", std::process::id())),
        };
        for folder in [&bench.captures, &bench.scratch] {
            fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        Ok(bench)
    }

    fn run(&self) -> Result<bool, String> {
        let mut rows = Vec::new();
        let mut memory = Vec::new();
        let mut good = true;
        for &calls in &self.arguments.calls {
            let (capture, truth) = self.capture(calls)?;
            let told = fs::read(&truth).map_err(|e| format!("{}: {e}", truth.display()))?;
            let told: Truth =
                serde_json::from_slice(&told).map_err(|e| format!("{}: {e}", truth.display()))?;
            let packets = told.rtp_packets;
            // The first replay warms the caches and is not counted.
            let mut rounds = Vec::new();
            for round in 0..=self.arguments.rounds {
                eprintln!("{calls} calls, {packets} RTP packets, replay {round}");
                let done = self.replay(&capture, &truth)?;
                if round > 0 {
                    rounds.push(done);
                }
            }
            let (row, right) = row(calls, self.seconds(calls), packets, &rounds);
            good &= right;
            rows.push(row);
            let most = rounds.iter().map(|round| round.cost.max_rss_kb).max().unwrap_or(0);
            memory.push((i64::from(calls), most));
        }
        self.print(&rows, &memory);
        Ok(good)
    }

    /// How long the calls of a row last.
    fn seconds(&self, calls: u32) -> u32 {
        let most = self.arguments.packets / calls.saturating_mul(100).max(1);
        self.arguments.seconds.min(most.max(1))
    }

    fn print(&self, rows: &[String], memory: &[(i64, i64)]) {
        let name = self.arguments.against.as_deref().unwrap_or("orkaudio replay");
        let words = self.arguments.gen_words.join(" ");
        println!("`{name}`, median of {}; calls {words}", self.arguments.rounds);
        println!("commit {}, {}\n", commit(), processor());
        println!(
            "| calls | s | RTP packets | CPU us/call | CPU us/packet | floor us/packet | CPU/floor | wall s | \
             peak RSS MB | written MB | tapes | frames wrong |"
        );
        println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
        for row in rows {
            println!("{row}");
        }
        let large = memory.iter().filter(|(calls, _)| *calls >= 1000);
        if let (Some((few, less)), Some((many, more))) = (large.clone().min(), large.max())
            && many > few
        {
            let each = (more - less) / (many - few);
            println!("\nMemory of a live call: {each} KiB more between {few} and {many} of them.");
        }
        println!(
            "\nCPU is user + system over the whole run. The floor is a plain read of the capture and a \
             plain write of as many bytes as the recorder wrote, in blocks of 1 MB, on the same disk."
        );
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.tools.join(name));
        command.stdin(Stdio::null());
        command
    }

    fn capture(&self, calls: u32) -> Result<(PathBuf, PathBuf), String> {
        let seconds = self.seconds(calls);
        let words = self.arguments.gen_words.concat();
        let capture = self.captures.join(format!("c{calls}x{seconds}{words}.pcap"));
        let truth = capture.with_extension("json");
        // The truth is written last: where it is, the capture is whole.
        if !truth.exists() {
            let mut command = self.tool("ork-gen");
            command.args(["calls", "--calls", &calls.to_string()]);
            command.args(["--seconds", &seconds.to_string()]);
            command.args(&self.arguments.gen_words);
            command.arg("--out").arg(&capture).arg("--truth").arg(&truth);
            let done = command.status().map_err(|e| format!("ork-gen: {e}"))?;
            if !done.success() {
                return Err(format!("ork-gen: {done}"));
            }
        }
        Ok((capture, truth))
    }

    fn replay(&self, capture: &Path, truth: &Path) -> Result<Round, String> {
        let output = self.scratch.join("tapes");
        remove(&output);
        fs::create_dir_all(&output).map_err(|e| format!("{}: {e}", output.display()))?;
        let said = self.scratch.join("stdout");
        let complained = self.scratch.join("stderr");
        let mut measure = self.tool("ork-measure");
        measure.args(["run", "--limit", &self.arguments.limit.to_string(), "--stdout"]);
        measure.arg(&said).arg("--stderr").arg(&complained).arg("--");
        if let Some(against) = &self.arguments.against {
            for word in against.split_whitespace() {
                let word = word.replace("{capture}", &capture.display().to_string());
                measure.arg(word.replace("{output}", &output.display().to_string()));
            }
        } else {
            measure.arg(&self.arguments.orkaudio).args(["replay", "--json", "--output"]);
            measure.arg(&output).arg(capture);
        }
        let cost = cost(&mut measure).map_err(|why| {
            let words = fs::read_to_string(&complained).unwrap_or_default();
            let last: Vec<&str> = words.lines().rev().take(3).collect();
            format!("the recorder failed: {why} {}", last.join(" / "))
        })?;
        let bytes = size(&output);
        let mut check = self.tool("ork-check");
        check.arg("--truth").arg(truth).arg("--output").arg(&output).arg("--quiet");
        if self.arguments.against.is_none() {
            check.arg("--tapes").arg(&said);
        }
        let judged = check.output().map_err(|e| format!("ork-check: {e}"))?;
        let verdict = serde_json::from_slice(&judged.stdout)
            .map_err(|_| String::from_utf8_lossy(&judged.stderr).into_owned())?;
        remove(&output);
        let target = self.scratch.join("floor");
        let mut floor = self.tool("ork-measure");
        floor.args(["floor", "--bytes", &bytes.to_string(), "--read"]).arg(capture);
        let floor = crate::cost(floor.arg("--write").arg(&target))?;
        fs::remove_file(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        Ok(Round { cost, floor, bytes, verdict })
    }
}

fn cost(measure: &mut Command) -> Result<Cost, String> {
    let done = measure.output().map_err(|e| format!("ork-measure: {e}"))?;
    let cost: Cost = serde_json::from_slice(&done.stdout)
        .map_err(|_| String::from_utf8_lossy(&done.stderr).into_owned())?;
    match cost.exit {
        Some(0) => Ok(cost),
        Some(code) => Err(format!("exit {code}")),
        None => Err("ended by a signal".to_owned()),
    }
}

fn row(calls: u32, seconds: u32, packets: u64, rounds: &[Round]) -> (String, bool) {
    let each = u32::try_from(packets).map_or(f64::MAX, f64::from).max(1.0) / 1e6;
    let middle = |of: &dyn Fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    let cpu = middle(&|round| round.cost.cpu_s()) / each;
    let floor = middle(&|round| round.floor.cpu_s()) / each;
    let number = |round: &Round, key: &str| round.verdict.get(key).and_then(Value::as_u64);
    let worst = rounds.iter().max_by_key(|round| number(round, "wrong"));
    let text = |key: &str| {
        let value = worst.and_then(|round| number(round, key));
        value.map_or("?".to_owned(), |value| value.to_string())
    };
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let rss = rounds.iter().map(|round| round.cost.max_rss_kb).max().unwrap_or(0) / 1024;
    let row = format!(
        "| {calls} | {seconds} | {packets} | {:.0} | {cpu:.3} | {floor:.3} | {:.1} | {:.2} | {rss} | {} | {}/{calls} | {} |",
        cpu * each * 1e6 / f64::from(calls.max(1)),
        cpu / floor.max(0.001),
        middle(&|round| round.cost.wall_s),
        rounds.iter().map(|round| megabytes(round.bytes)).max().unwrap_or(0),
        text("tapes"),
        text("frames_wrong"),
    );
    let right = rounds.iter().all(|round| number(round, "wrong") == Some(0));
    if !right && let Some(round) = worst {
        eprintln!("{calls} calls: {}", round.verdict);
    }
    (row, right)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Bytes in all files under a folder.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(known) if known.is_dir() => size(&entry.path()),
        Ok(known) => known.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn commit() -> String {
    let git = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    match git {
        Ok(done) if done.status.success() => {
            String::from_utf8_lossy(&done.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

fn processor() -> String {
    let known = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = known.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|line| line.split_once(':')).map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} x {}", cores, model.trim())
}
