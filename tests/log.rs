//! The attempt log of a whole engine: what is kept of each attempt, and its request shown again.
//!
//! Owns a receiver that keeps the raw bytes of what it gets, which are compared with what the log
//! shows, after everything that made them has changed. Must never ask a library what a request is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderValue;
use postrider::clock;
use postrider::engine::command::{Command, RotationStep};
use postrider::engine::core::Settings as CoreSettings;
use postrider::engine::sent::SentError;
use postrider::engine::submit::Submission;
use postrider::engine::{Engine, EngineError, Handle, Settings};
use postrider::logic::address::AllowList;
use postrider::logic::dispatcher;
use postrider::logic::log::LogLimits;
use postrider::logic::quota::Rate;
use postrider::model::attempt::{Attempt, Extent, NextWhy, Outcome, Reason, Verdict};
use postrider::model::draft::{Change, ProjectDraft, WebhookDraft, WebhookPatch};
use postrider::model::event::{EventName, Source};
use postrider::model::ids::{EventId, ProjectId, Seq, WebhookId};
use postrider::model::secret::Secret;
use postrider::model::target::TargetUrl;
use postrider::model::time::DAY_MS;
use postrider::model::webhook::{Format, Version};
use postrider::net::{Net, NetConfig, SystemResolver};
use postrider::source::sample;
use postrider::store::Store;
use postrider::store::embedded::vault::{Key, Vault};
use postrider::store::embedded::{self, Embedded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const FORMATS: [(Format, &str); 6] = [
    (Format::Uploadcare(Version::V05), "file.uploaded"),
    (Format::Uploadcare(Version::V07), "file.uploaded"),
    (Format::JsonApi, "file.created"),
    (Format::Lancer, "FILE_UPLOAD"),
    (Format::Standard, "file.uploaded"),
    (Format::CloudEvents, "file.uploaded"),
];
/// More than is kept of a body.
const BODY_BYTES: usize = 3_000;
/// How long one look waits for the next.
const LOOK_MS: u64 = 5;
/// Looks for something that has to come; far more than it takes.
const LOOKS_MAX: usize = 6_000;

/// Raw requests by (webhook, attempt), and the delivery that each names.
type Raw = Arc<Mutex<BTreeMap<(u32, u32), (Seq, Vec<u8>)>>>;

struct Receiver {
    port: u16,
    raw: Raw,
}

impl Receiver {
    async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let raw = Raw::default();
        let kept = Arc::clone(&raw);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&kept)));
            }
        });
        Receiver { port, raw }
    }

    fn raw(&self) -> BTreeMap<(u32, u32), (Seq, Vec<u8>)> {
        self.raw.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn url(&self, path: &str) -> TargetUrl {
        TargetUrl::parse(&format!("http://127.0.0.1:{}{path}", self.port)).expect("a URL")
    }
}

/// Keeps each request as it came. The first two of a delivery fail, the third one arrives.
async fn serve(mut tcp: TcpStream, kept: Raw) {
    loop {
        let mut raw = Vec::new();
        while !raw.ends_with(b"\r\n\r\n") {
            match tcp.read_u8().await {
                Ok(byte) => raw.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8_lossy(&raw).into_owned();
        let field = |name: &str| -> u64 {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.and_then(|text| text.parse().ok()).expect("a number")
        };
        let mut body = vec![0; field("content-length") as usize];
        tcp.read_exact(&mut body).await.expect("a body");
        raw.extend_from_slice(&body);
        let key = (field("postrider-webhook") as u32, field("postrider-attempt") as u32);
        let value = (Seq(field("postrider-sequence")), raw);
        kept.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
        if tcp.write_all(&answer(key.1)).await.is_err() {
            return;
        }
    }
}

fn answer(attempt: u32) -> Vec<u8> {
    if attempt > 2 {
        return b"HTTP/1.1 204 No Content\r\ndate: Mon, 05 Nov 2018 13:14:41 GMT\r\n\r\n".to_vec();
    }
    let head = format!(
        "HTTP/1.1 503 Busy\r\nDate: x\r\nX-Trace: \u{1}\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    );
    let mut bytes: Vec<u8> =
        head.into_bytes().into_iter().map(|byte| if byte == 1 { 0xfe } else { byte }).collect();
    bytes.extend((0..BODY_BYTES).map(|i| i as u8));
    bytes
}

/// An engine that runs, on a directory that outlives it.
struct Running {
    handle: Handle,
    store: Arc<Embedded>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), EngineError>>,
}

impl Running {
    fn start(directory: &Path, user_agent: &'static str) -> Running {
        let vault = Vault::new(Key::new([1; 32]), Vec::new());
        let opened = Embedded::open(directory, vault, embedded::Settings::default());
        let store = Arc::new(opened.expect("opens"));
        let allow = AllowList::parse(&["127.0.0.1".to_owned()]).expect("a list");
        let config = NetConfig { allow, ..NetConfig::default() };
        let net = Net::new(config, Arc::new(SystemResolver::new(1))).expect("opens");
        let core = CoreSettings {
            dispatcher: dispatcher::Settings {
                in_flight_max: 64,
                target_rate: Rate::new(1_000, 1_000),
                target_in_flight_max: 64,
            },
            targets: BTreeMap::new(),
            retention_ms: 7 * DAY_MS,
            disable_failing_after_ms: None,
            feed_changes_max: 1_024,
            user_agent: HeaderValue::from_static(user_agent),
            log: LogLimits::default(),
        };
        let seam: Arc<dyn Store> = Arc::<Embedded>::clone(&store);
        let settings = Settings { core, deliver: true };
        let (engine, handle) =
            Engine::new(settings, seam, Arc::new(net), AllowList::default()).expect("starts");
        let (stop, stops) = watch::channel(false);
        let task = tokio::spawn(engine.run(stops));
        Running { handle, store, stop, task }
    }

    async fn end(self) {
        self.handle.drain();
        let _ = self.stop.send(true);
        self.task.await.expect("ends").expect("without an error");
        self.store.close();
    }

    async fn command(&self, command: Command) {
        self.handle.command(command).await.expect("is carried out");
    }

    async fn subscribe(&self, receiver: &Receiver) {
        for (n, (format, event)) in FORMATS.into_iter().enumerate() {
            let draft = WebhookDraft {
                target_url: receiver.url(&format!("/{n}?first=1")),
                events: vec![EventName::parse(event).expect("a name")],
                format,
                is_active: true,
                secret: Some(Secret::new("the first secret".to_owned())),
                headers: vec![("x-own".to_owned(), "first".to_owned())],
                limits: Default::default(),
                options: Default::default(),
            };
            self.command(Command::CreateWebhook { project: one(), draft, listener: None }).await;
        }
    }

    async fn publish(&self) -> EventId {
        let name = EventName::parse("file.uploaded").expect("a name");
        let uuid = "17be4678-dab7-4bc7-8753-28914a22960a";
        let event = sample::test_event(&name, uuid, "a.jpg", clock::now().wall);
        let submission = Submission::new(one(), vec![event], Source::Native);
        self.handle.submit(submission).await.expect("is accepted").events[0].id
    }

    /// Waits until every webhook's attempt with this number is in the log; the retries of those
    /// that wait are made now.
    async fn attempted(&self, receiver: &Receiver, number: u32) {
        for _ in 0..LOOKS_MAX {
            let raw = receiver.raw();
            let mut missing = 0;
            for webhook in ids() {
                if let Some((delivery, _)) = raw.get(&(webhook.get(), number)) {
                    let attempts = self.handle.attempts(*delivery).await.expect("reads");
                    missing += usize::from(attempts.len() < number as usize);
                } else {
                    missing += 1;
                    self.command(Command::Hasten { project: one(), id: webhook }).await;
                }
            }
            if missing == 0 {
                return;
            }
            clock::sleep(LOOK_MS).await;
        }
        unreachable!("attempt {number} is not made");
    }

    /// Another URL, another header, and another secret, in all its steps.
    async fn change(&self, receiver: &Receiver, round: u32) {
        for id in ids() {
            let project = one();
            let secret = Secret::new(format!("secret {round}"));
            let begin = RotationStep::Begin { secret, promote_after_ms: None, overlap_ms: DAY_MS };
            let patch = WebhookPatch {
                target_url: Some(receiver.url(&format!("/changed/{id}/{round}"))),
                headers: Change::Set(vec![("x-own".to_owned(), format!("changed {round}"))]),
                ..WebhookPatch::default()
            };
            self.command(Command::UpdateWebhook { project, id, patch }).await;
            for step in [begin, RotationStep::Promote, RotationStep::Finish] {
                self.command(Command::Rotate { project, id, step }).await;
            }
        }
    }

    /// The numbers of those that are not shown as they were sent.
    async fn inexact(&self, receiver: &Receiver) -> Vec<(u32, u32)> {
        let mut inexact = Vec::new();
        for ((webhook, number), (delivery, raw)) in receiver.raw() {
            let sent = self.handle.sent(delivery, number).await.expect("is shown");
            let shown = [sent.head(), sent.body.to_vec()].concat();
            let is_same = shown == raw;
            assert_eq!(is_same, sent.is_exact, "{}", String::from_utf8_lossy(&shown));
            if !is_same {
                inexact.push((webhook, number));
            }
        }
        inexact
    }
}

fn one() -> ProjectId {
    ProjectId::new(1).expect("an id")
}

fn ids() -> impl Iterator<Item = WebhookId> {
    (1..=FORMATS.len() as u32).filter_map(WebhookId::new)
}

fn project(public_key: &str) -> Command {
    Command::PutProject(ProjectDraft {
        id: Some(one()),
        name: "p".to_owned(),
        public_key: public_key.to_owned(),
        secret_keys: vec![Secret::new("key".to_owned())],
        settings: Default::default(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_shown_as_it_was_sent() {
    let directory = std::env::temp_dir().join(format!("postrider-log-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let receiver = Receiver::start().await;
    let running = Running::start(&directory, "postrider/first");
    running.command(project("pub")).await;
    running.subscribe(&receiver).await;
    let event = running.publish().await;
    running.attempted(&receiver, 1).await;
    running.change(&receiver, 2).await;
    running.attempted(&receiver, 2).await;
    running.end().await;

    // Another process, which calls itself otherwise.
    let running = Running::start(&directory, "postrider/second");
    running.change(&receiver, 3).await;
    running.attempted(&receiver, 3).await;
    running.change(&receiver, 4).await;
    let raw = receiver.raw();
    assert_eq!(raw.len(), 3 * FORMATS.len());
    assert_eq!(running.inexact(&receiver).await, []);
    for (delivery, _) in raw.values() {
        judge(&running.handle.attempts(*delivery).await.expect("reads"));
    }

    // A webhook that is gone has left what it sent.
    let id = WebhookId::new(1).expect("an id");
    running.command(Command::DeleteWebhook { project: one(), id }).await;
    assert_eq!(running.inexact(&receiver).await, []);
    // What the log does not hold is told: these formats name the project.
    running.command(project("another")).await;
    let naming = [2, 3, 6].into_iter().flat_map(|id| (1..=3).map(move |number| (id, number)));
    assert_eq!(running.inexact(&receiver).await, naming.collect::<Vec<_>>());

    let delivery = raw[&(2, 1)].0;
    let sent = |delivery, number| running.handle.sent(delivery, number);
    assert!(matches!(sent(delivery, 4).await, Err(SentError::NoAttempt(4))));
    assert!(matches!(sent(Seq(delivery.0 + 1_000), 1).await, Err(SentError::NoDelivery)));
    running.command(Command::EraseEvent { project: one(), event: event.seq }).await;
    assert!(matches!(sent(delivery, 1).await, Err(SentError::Erased)));
    running.end().await;
    std::fs::remove_dir_all(&directory).expect("is removed");
}

/// Two that failed, and one that arrived.
fn judge(attempts: &[Attempt]) {
    let [first, second, third] = attempts else { unreachable!("{attempts:?}") };
    assert!(first.revision < second.revision && second.revision < third.revision);
    for (number, failed) in [(1, first), (2, second)] {
        assert_eq!(failed.number, number);
        assert_eq!(failed.outcome, Outcome::Status(503));
        assert_eq!((failed.verdict, failed.reason()), {
            (Verdict::Retry { connection: false }, Reason::ServerError)
        });
        let due = failed.next_due.expect("is tried again");
        assert!(due > failed.started);
        assert_eq!(failed.next_why, Some(NextWhy::Slot));
        let kept = failed.response.as_ref().expect("is kept");
        let headers: Vec<(&str, &[u8])> =
            kept.headers.iter().map(|header| (&*header.name, &*header.value)).collect();
        assert_eq!(headers, [("x-trace", &b"\xfe"[..]), ("content-length", b"3000")]);
        let body: Vec<u8> = (0..1_024).map(|i| i as u8).collect();
        assert_eq!((&kept.body, kept.body_extent), (&body, Extent::Truncated));
        assert_eq!(kept.headers_extent, Extent::Whole);
    }
    assert_eq!((third.verdict, third.reason()), (Verdict::Delivered, Reason::Success));
    assert_eq!((third.next_due, third.next_why), (None, None));
    let kept = third.response.as_ref().expect("is kept");
    assert_eq!((kept.headers.len(), kept.body_extent), (0, Extent::Whole));
}
