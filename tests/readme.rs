//! Holds README.md to the program: its commands are run or parsed, its tables and settings compared.
//!
//! Owns how examples are found in the text and what of an answer may differ from run to run. Must
//! never leave a process or a file behind. The examples are run by a small reader of shell and
//! curl, so that neither has to be installed.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use postrider::app::args::Arguments;
use postrider::app::config::{Config, Sources, default_toml};
use postrider::app::exit::Exit;
use postrider::logic::retry::{SLOT_LAST, slot_offset_ms};
use postrider::model::time::{HOUR_MS, MINUTE_MS};

const README: &str = include_str!("../README.md");
const PACKAGED_CONFIG: &str = include_str!("../packaging/postrider.toml");

/// What stands above the blocks that are run.
const RUN_MARK: &str = "<!-- tests/readme.rs runs this block against `postrider dev`. -->";
/// Where `dev` listens in the README.
const README_API: &str = "127.0.0.1:8080";
const README_RECEIVER: &str = "127.0.0.1:8081";
/// Ends a test that would wait for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

// ---- what is compared ------------------------------------------------------------------------

#[test]
fn exit_codes_are_those_of_the_program() {
    let table = rows_after("| exit code |");
    let told: Vec<u8> = table.iter().map(|row| row[0].parse().expect("a number")).collect();
    assert_eq!(told, every_exit().map(Exit::code), "the exit codes in README.md");
}

/// A new variant stops this from compiling: add it here and to the README.
fn every_exit() -> [Exit; 8] {
    use Exit::{CantCreate, Config, Failure, NoPermission, Ok, Temporary, Unavailable, Usage};
    match Ok {
        Ok | Failure | Usage | Unavailable | CantCreate | Temporary | NoPermission | Config => {}
    }
    [Ok, Failure, Usage, Unavailable, CantCreate, Temporary, NoPermission, Config]
}

#[test]
fn the_retry_table_is_the_programs() {
    let slots = cells(README.lines().find(|line| line.starts_with("| slot |")).expect("a table"));
    let rows = rows_after("| slot |");
    let after = &rows[0];
    assert_eq!(slots.len(), after.len(), "both rows have as many cells");
    let mut told = Vec::new();
    for (slot, after) in slots.iter().zip(after).skip(1).filter(|(slot, _)| **slot != "…") {
        let slot: u32 = slot.parse().expect("a slot");
        let (count, unit) = after.split_once(' ').expect("a number and a unit");
        let unit_ms = if unit == "h" { HOUR_MS } else { MINUTE_MS };
        let after_ms = count.parse::<u64>().expect("a number") * unit_ms;
        assert_eq!(after_ms, slot_offset_ms(slot), "slot {slot} in README.md");
        told.push(slot);
    }
    assert_eq!(told.first(), Some(&0), "the table begins with the first attempt");
    assert_eq!(told.last(), Some(&SLOT_LAST), "the table ends with the last slot");
    assert!(told.len() > 7, "the table shows the slots that are not hourly");
}

#[test]
fn the_packaged_configuration_is_the_generated_one() {
    assert!(
        PACKAGED_CONFIG == default_toml(),
        "packaging/postrider.toml differs from what `postrider config default` prints"
    );
}

#[test]
fn configuration_examples_load() {
    let blocks: Vec<Block> =
        blocks().into_iter().filter(|block| block.language == "toml").collect();
    assert!(!blocks.is_empty(), "README.md shows a configuration");
    for block in blocks {
        // The files that it names hold something that serves as a key of any kind.
        let read = |path: &Path| -> io::Result<Vec<u8>> {
            let named = path == Path::new("postrider.toml");
            Ok(if named { block.text.clone().into_bytes() } else { vec![b'a'; 64] })
        };
        let sources =
            Sources { file: Some("postrider.toml".into()), read: &read, ..Sources::none() };
        if let Err(errors) = Config::load(&sources) {
            panic!("a configuration in README.md is wrong:\n{errors}");
        }
    }
}

#[test]
fn settings_that_the_text_names_exist() {
    let mut named = 0;
    for span in README.split('`').skip(1).step_by(2) {
        let setting = if let Some(variable) = span.strip_prefix("POSTRIDER_") {
            let variable = variable.to_lowercase();
            variable.split_once('_').map(|(section, key)| (section.to_owned(), key.to_owned()))
        } else {
            let rest = span.strip_prefix('[').filter(|rest| !rest.starts_with('['));
            let parts = rest.and_then(|rest| rest.split_once("] "));
            parts.map(|(section, key)| (section.to_owned(), key.to_owned()))
        };
        if let Some((section, key)) = setting {
            assert!(
                has_setting(&section, &key),
                "README.md names [{section}] {key}: there is none"
            );
            named += 1;
        }
    }
    assert!(named > 3, "README.md names settings");
}

fn has_setting(section: &str, key: &str) -> bool {
    let toml = default_toml();
    let header = format!("[{section}]");
    let mut lines = toml.lines().skip_while(|line| *line != header).skip(1);
    let forms = [format!("#{key} = "), format!("#{key}_file = ")];
    lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .any(|line| forms.iter().any(|form| line.starts_with(form.as_str())))
}

#[test]
fn command_lines_parse() {
    let mut parsed = 0;
    for step in blocks().iter().flat_map(commands) {
        for command in step.words.split(|word| word == "|") {
            let Some(arguments) = arguments_of(command) else { continue };
            if let Err(error) = Arguments::read(&arguments) {
                panic!("README.md shows `{}`:\n{error}", step.line);
            }
            parsed += 1;
        }
    }
    assert!(parsed > 10, "README.md shows command lines");
}

/// The words that the program gets of a simple command, if it is the program.
fn arguments_of(command: &[String]) -> Option<Vec<String>> {
    let run = ["cargo", "run", "--release", "--"];
    let words = match command.strip_prefix(run.map(str::to_owned).as_slice()) {
        Some(rest) => [&["postrider".to_owned()], rest].concat(),
        None => command.to_vec(),
    };
    let end = words.iter().position(|word| word == "<" || word == ">").unwrap_or(words.len());
    (words.first()? == "postrider").then(|| words[..end].to_vec())
}

// ---- what is run -----------------------------------------------------------------------------

#[test]
fn dev_prints_what_the_readme_shows() {
    let folder = Folder::new("once");
    let output = dev(&folder, &["--once"]).output().expect("starts");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "dev --once: {printed}{complaint}");
    let printed = in_readme_terms(&printed, &folder, &Addresses::read(&printed));
    assert_eq!(masked(&printed), masked(&capture(|line| !is_hint(line))));
}

#[test]
fn requests_get_the_answers_that_the_readme_shows() {
    let folder = Folder::new("requests");
    let mut dev = RunningDev::start(&folder);
    let hints = in_readme_terms(&dev.headline, &folder, &dev.addresses);
    let hints: String =
        hints.lines().filter(|line| is_hint(line)).map(|l| format!("{l}\n")).collect();
    // The line of keys is for terminals.
    let shown = capture(|line| is_hint(line) && !line.starts_with("  Keys:"));
    assert_eq!(masked(&hints), masked(&shown));

    let marked: Vec<Block> = blocks().into_iter().filter(|block| block.is_run).collect();
    assert_eq!(marked.len(), 5, "blocks of README.md that are run");
    for block in &marked {
        let examples = examples(block);
        assert!(examples.len() > 2, "requests in {}", block.text);
        // Ids that the README shows, and those that stand for them in this run.
        let mut known: Vec<(String, String)> = Vec::new();
        for mut example in examples {
            for (shown, real) in &known {
                example.request.url = example.request.url.replace(shown.as_str(), real);
            }
            let answer = dev.ask(&example.request);
            known.extend(ids(&example.answer).into_iter().zip(ids(&answer)));
            let answer = in_readme_terms(&answer, &folder, &dev.addresses);
            // A long answer is shown by its beginning.
            match example.answer.strip_suffix('…') {
                Some(start) => assert!(
                    masked(&answer).starts_with(&masked(start)),
                    "{}\n{answer}",
                    example.line
                ),
                None => assert_eq!(masked(&answer), masked(&example.answer), "{}", example.line),
            }
        }
    }
    dev.stop();
}

/// The ids of events and deliveries in a text, in order.
fn ids(text: &str) -> Vec<String> {
    let starts = text
        .char_indices()
        .filter(|(at, _)| text[*at..].starts_with("evt_") || text[*at..].starts_with("dlv_"));
    starts.filter_map(|(at, _)| text.get(at..at + 30).map(str::to_owned)).collect()
}

/// What the README shows of `dev`, without the command.
fn capture(wanted: impl Fn(&str) -> bool) -> String {
    let blocks = blocks();
    let block = blocks.first().expect("a block");
    let (command, shown) = block.text.split_once('\n').expect("a command and its output");
    assert_eq!(command, "$ cargo run --release -- dev", "the first block shows `dev`");
    shown.lines().filter(|line| wanted(line)).map(|line| format!("{line}\n")).collect()
}

/// Lines that `--once` does not print.
fn is_hint(line: &str) -> bool {
    line.starts_with("  Try:") || line.starts_with("  Keys:")
}

/// A folder for temporary files, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("postrider-readme-{}-{name}", std::process::id());
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).expect("makes a folder");
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let left = std::fs::read_dir(&self.0).map(|entries| entries.count());
        let removed = std::fs::remove_dir_all(&self.0);
        if !std::thread::panicking() {
            assert_eq!(left.ok(), Some(0), "dev deletes its store on exit");
            removed.expect("removes a folder");
        }
    }
}

/// `postrider dev` on free ports, with its store in `folder` and nobody at the keyboard.
fn dev(folder: &Folder, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postrider"));
    command
        .args(["dev", "--listen", "127.0.0.1:0", "--receiver-listen", "127.0.0.1:0"])
        .args(flags)
        .env("TMPDIR", &folder.0)
        .stdin(Stdio::null());
    command
}

struct RunningDev {
    child: Child,
    // Held, so that what is printed later has somewhere to go.
    _stdout: BufReader<ChildStdout>,
    headline: String,
    addresses: Addresses,
}

impl RunningDev {
    fn start(folder: &Folder) -> RunningDev {
        let mut child = dev(folder, &[]).stdout(Stdio::piped()).spawn().expect("starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut headline = String::new();
        // The first delivery may be told of before or after the last line that is waited for.
        while !headline.contains("Try:") {
            let read = stdout.read_line(&mut headline).expect("UTF-8");
            assert!(read > 0, "dev ended after {headline:?}");
        }
        let addresses = Addresses::read(&headline);
        RunningDev { child, _stdout: stdout, headline, addresses }
    }

    /// The answer, as the README writes it: `200 {…}`.
    fn ask(&self, request: &Request) -> String {
        let url = self.addresses.in_ours(&request.url);
        let (host, path) = url
            .strip_prefix("http://")
            .and_then(|rest| rest.split_once('/'))
            .unwrap_or_else(|| panic!("{url} has no scheme or no path"));
        let body = self.addresses.in_ours(&request.body);
        let mut text = format!(
            "{} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
            request.method,
            body.len()
        );
        for header in &request.headers {
            text.extend([header, "\r\n"]);
        }
        text.extend(["\r\n", &body]);
        let mut stream = TcpStream::connect(host).expect("dev listens");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        stream.write_all(text.as_bytes()).expect("sends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        format!("{status} {body}").trim_end().to_owned()
    }

    fn stop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("ends");
        assert_eq!(status.code(), Some(0), "dev ends well on SIGTERM");
    }
}

impl Drop for RunningDev {
    fn drop(&mut self) {
        // Both fail where it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `dev` listens this time.
struct Addresses {
    api: String,
    receiver: String,
}

impl Addresses {
    fn read(printed: &str) -> Addresses {
        let after = |label: &str| {
            let line = printed.lines().find(|line| line.trim_start().starts_with(label));
            let url = line.and_then(|line| line.split_once("http://"));
            let (_, rest) = url.unwrap_or_else(|| panic!("no {label} in {printed:?}"));
            rest.split([' ', '/']).next().unwrap_or_default().to_owned()
        };
        Addresses { api: after("API"), receiver: after("Receiver") }
    }

    fn in_ours(&self, text: &str) -> String {
        text.replace(README_API, &self.api).replace(README_RECEIVER, &self.receiver)
    }
}

fn in_readme_terms(text: &str, folder: &Folder, addresses: &Addresses) -> String {
    text.replace(&folder.0.display().to_string(), "/tmp")
        .replace(&addresses.api, README_API)
        .replace(&addresses.receiver, README_RECEIVER)
}

// ---- what differs from run to run ------------------------------------------------------------

/// Forms that vary: `0` is a digit, `X` a digit or capital, `h` a hexadecimal digit, `/` a
/// character of base64, `+` one digit or more. What stands before the bar is kept.
const VARYING: [&str; 8] = [
    "|0000-00-00T00:00:00.000000Z",
    "|00:00:00 →",
    "evt_|XXXXXXXXXXXXXXXXXXXXXXXXXX",
    "dlv_|XXXXXXXXXXXXXXXXXXXXXXXXXX",
    "job_|XXXXXXXXXXXXXXXXXXXXXXXXXX",
    "postrider-dev-|hhhhhhhhhhhh",
    "signing secret |////////////////////////////////",
    " in |+ ms",
];
const DURATION_FIELD: &str = "\"duration_ms\":|+,";

/// The text with `*` for whatever varies.
fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let forms = VARYING.iter().chain([&DURATION_FIELD]);
        let found = forms.filter_map(|form| varying(form, rest)).next();
        let (kept, bytes) = match found {
            Some((kept, bytes)) => (format!("{kept}*"), bytes),
            None => (first.to_string(), first.len_utf8()),
        };
        out.push_str(&kept);
        rest = &rest[bytes..];
    }
    out
}

/// What is kept of a form at the start of the text, and the bytes that it covers.
fn varying<'f>(form: &'f str, text: &str) -> Option<(&'f str, usize)> {
    let (kept, pattern) = form.split_once('|').expect("a bar");
    let mut rest = text.strip_prefix(kept)?;
    for class in pattern.chars() {
        let fits = |letter: char| match class {
            '0' | '+' => letter.is_ascii_digit(),
            'X' => letter.is_ascii_digit() || letter.is_ascii_uppercase(),
            'h' => letter.is_ascii_hexdigit(),
            '/' => letter.is_ascii_alphanumeric() || letter == '+' || letter == '/',
            literal => letter == literal,
        };
        let after = rest.strip_prefix(fits)?;
        rest = if class == '+' { after.trim_start_matches(fits) } else { after };
    }
    Some((kept, text.len() - rest.len()))
}

#[test]
fn only_what_varies_is_masked() {
    let line = "  19:55:02 → file.uploaded  evt_000T3ZXD6620013F4C0W0VV2GT  delivered 200 in 14 ms";
    assert_eq!(masked(line), "  * file.uploaded  evt_*  delivered 200 in *");
    let answer =
        "200 {\"id\":7,\"created\":\"2026-11-21T19:55:41.458000Z\",\"duration_ms\":1,\"a\":2}";
    assert_eq!(masked(answer), "200 {\"id\":7,\"created\":\"*\",\"duration_ms\":*\"a\":2}");
}

// ---- reading the README ----------------------------------------------------------------------

/// A fenced block.
struct Block {
    language: String,
    text: String,
    is_run: bool,
}

fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    let mut above = "";
    for line in README.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => blocks.push(Block {
                language: language.to_owned(),
                text: String::new(),
                is_run: above == RUN_MARK,
            }),
            (None, true) => {
                let block = blocks.last_mut().expect("one is open");
                block.text.extend([line, "\n"]);
            }
            (Some(_), true) | (None, false) => {}
        }
        open ^= line.starts_with("```");
        above = line;
    }
    assert!(!open, "the last block of README.md is not closed");
    blocks
}

/// The cells of each row of the table whose first line begins so.
fn rows_after(start: &str) -> Vec<Vec<&'static str>> {
    let table = README.lines().skip_while(|line| !line.starts_with(start));
    let rows: Vec<_> = table.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "README.md has a table {start:?}");
    rows
}

fn cells(row: &'static str) -> Vec<&'static str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// A request, and the answer that the README promises.
struct Example {
    line: String,
    request: Request,
    answer: String,
}

struct Request {
    method: String,
    url: String,
    headers: Vec<String>,
    body: String,
}

/// The requests of a block; each answer is the comment after its command.
fn examples(block: &Block) -> Vec<Example> {
    let steps = commands(block).into_iter().filter(|step| step.words[0] == "curl");
    let example = |step: Step| {
        let answer = step.next_line.strip_prefix("# ");
        let answer = answer.unwrap_or_else(|| panic!("README.md tells no answer: {}", step.line));
        Example {
            request: Request::of_curl(&step.words[1..]),
            answer: answer.to_owned(),
            line: step.line,
        }
    };
    steps.map(example).collect()
}

/// A command of a block.
struct Step {
    line: String,
    words: Vec<String>,
    next_line: String,
}

/// The commands of a block: a script's, or those after the prompts of a terminal.
fn commands(block: &Block) -> Vec<Step> {
    let prompted = |line: &str| {
        let command = line.strip_prefix("$ ").or(line.strip_prefix("  Try:  "))?;
        Some(format!("{command}\n"))
    };
    let script: String = match block.language.as_str() {
        "sh" => block.text.clone(),
        "console" => block.text.lines().filter_map(prompted).collect(),
        _ => String::new(),
    };
    let mut variables = BTreeMap::new();
    let mut steps = Vec::new();
    let mut rest = script.as_str();
    while !rest.is_empty() {
        let (words, bytes) = shell_words(rest, &variables);
        let (line, after) = rest.split_at(bytes);
        rest = after;
        match words.first().and_then(|first| first.split_once('=')) {
            Some((name, value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            None if words.is_empty() => {}
            None => {
                let next_line = rest.lines().next().unwrap_or_default().to_owned();
                steps.push(Step { line: line.trim_end().to_owned(), words, next_line });
            }
        }
    }
    steps
}

impl Request {
    fn of_curl(words: &[String]) -> Request {
        let (mut method, mut url) = (None, None);
        let (mut headers, mut data): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let mut words = words.iter().cloned();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "-X" => method = Some(value()),
                "-H" => headers.push(value()),
                "-d" | "--data-binary" => data.push(value()),
                flag if flag.starts_with('-') => panic!("{flag} is not known here"),
                _ => url = Some(word),
            }
        }
        let typed = headers.iter().any(|line| line.to_lowercase().starts_with("content-type:"));
        if !data.is_empty() && !typed {
            headers.push("Content-Type: application/x-www-form-urlencoded".to_owned());
        }
        let method_default = if data.is_empty() { "GET" } else { "POST" };
        Request {
            method: method.unwrap_or_else(|| method_default.to_owned()),
            url: url.expect("curl gets a URL"),
            headers,
            body: data.join("&"),
        }
    }
}

/// The words of the first command of a script, and the bytes that it covers. Knows quotes, a
/// backslash before a line's end, variables within double quotes, comments, and `|`, `<`, `>` as
/// words.
fn shell_words(script: &str, variables: &BTreeMap<String, String>) -> (Vec<String>, usize) {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = script;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' => break,
            ' ' => words.extend(word.take()),
            '#' if word.is_none() => rest = &rest[rest.find('\n').unwrap_or(rest.len())..],
            '\\' if rest.starts_with('\n') => rest = &rest[1..],
            '|' | '<' | '>' => {
                words.extend(word.take());
                words.push(letter.to_string());
            }
            '\'' | '"' => {
                let (quoted, after) = rest.split_once(letter).expect("the quote ends");
                let text = match quoted.strip_prefix('$').filter(|_| letter == '"') {
                    Some(name) => variables
                        .get(name)
                        .unwrap_or_else(|| panic!("README.md does not set ${name}")),
                    None => quoted,
                };
                word.get_or_insert_default().push_str(text);
                rest = after;
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    (words, script.len() - rest.len())
}

#[test]
fn shell_is_read_as_a_shell_reads_it() {
    let variables = BTreeMap::from([("A".to_owned(), "x y".to_owned())]);
    let script = "a 'b \"c\"'d \"$A\" \\\n -e '{\n}' # f\ng";
    let (words, bytes) = shell_words(script, &variables);
    assert_eq!(words, ["a", "b \"c\"d", "x y", "-e", "{\n}"]);
    assert_eq!(&script[bytes..], "g");
    assert_eq!(shell_words("a|b < c", &variables).0, ["a", "|", "b", "<", "c"]);
}
