//! Configuration through the library: precedence, messages, secrets, and the generated file.
//!
//! Files and the environment are maps, so that tests neither write files nor change their process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use postrider::app::config::{
    Config, ConfigErrors, EncryptionKey, FlagValue, Loaded, LogFormat, LogLevel, Origin, Sources,
    default_toml,
};

/// A little world: files, variables, flags.
#[derive(Default)]
struct World {
    files: BTreeMap<PathBuf, Vec<u8>>,
    environment: BTreeMap<String, OsString>,
    flags: Vec<FlagValue>,
    named: Option<PathBuf>,
}

impl World {
    fn toml(text: &str) -> World {
        World::default().file("postrider.toml", text)
    }

    fn file(mut self, path: &str, text: &str) -> World {
        self.files.insert(path.into(), text.into());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> World {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    fn flag(mut self, flag: FlagValue) -> World {
        self.flags.push(flag);
        self
    }

    fn named(mut self, path: &str) -> World {
        self.named = Some(path.into());
        self
    }

    fn load(&self) -> Result<Loaded, ConfigErrors> {
        let read = |path: &Path| {
            let found = self.files.get(path).cloned();
            found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        Config::load(&Sources {
            file: self.named.clone(),
            flags: self.flags.clone(),
            environment: self.environment.clone(),
            read: &read,
        })
    }

    #[track_caller]
    fn sound(&self) -> Loaded {
        self.load().expect("sound")
    }

    #[track_caller]
    fn messages(&self) -> Vec<String> {
        let errors = self.load().expect_err("something is wrong");
        errors.to_string().lines().map(str::to_owned).collect()
    }
}

const PROJECT: &str = "[[project]]\npublic_key = \"pub\"\nsecret_key = \"sec\"\n";

#[test]
fn defaults() {
    let config = World::default().sound().config;
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().expect("an address"));
    assert_eq!(config.store.path, Path::new("postrider-data"));
    assert_eq!(config.server.control_socket, Path::new("postrider-data/control.sock"));
    assert_eq!((config.server.connections_max, config.server.drain_timeout_ms), (1_024, 25_000));
    assert_eq!((config.server.header_timeout_ms, config.server.body_timeout_ms), (10_000, 30_000));
    assert_eq!(config.server.requests_per_connection_max, 10_000);
    assert_eq!((config.server.client_rate_per_second, config.server.client_burst), (200, 400));
    assert_eq!(
        (config.server.idle_timeout_ms, config.server.auth_failures_per_minute),
        (60_000, 60)
    );
    assert_eq!(
        (config.store.cache_bytes, config.store.retention_ms),
        (8 * 1024 * 1024, 604_800_000)
    );
    let delivery = &config.delivery;
    assert_eq!((delivery.target_rate_per_second, delivery.target_burst), (500, 1_000));
    assert_eq!((delivery.target_in_flight, delivery.in_flight), (32, 1_024));
    assert_eq!((delivery.connect_timeout_ms, delivery.attempt_timeout_ms), (10_000, 60_000));
    assert_eq!((delivery.response_body_bytes_max, &delivery.proxy), (16 << 10, &None));
    assert!(delivery.user_agent.starts_with("postrider/"));
    assert_eq!(
        (config.publish.event_bytes_max, config.publish.request_bytes_max),
        (1 << 20, 16 << 20)
    );
    assert_eq!(config.publish.events_per_request_max, 1_000);
    assert_eq!((config.log.format, config.log.level), (LogFormat::Auto, LogLevel::Info));
    assert!(config.projects.is_empty() && config.targets.is_empty());
    assert!(config.store.encryption_keys.is_empty() && delivery.allow.is_empty());
}

#[test]
fn flags_before_variables_before_file_before_defaults() {
    let file = World::toml("[server]\nlisten = \"127.0.0.1:1\"\n\n[log]\nlevel = \"debug\"\n");
    let listen = |world: &World| {
        let loaded = world.sound();
        (loaded.config.server.listen.port(), loaded.origin("server", "listen").cloned())
    };
    let place = Origin::File { path: "postrider.toml".into(), line: 2, column: 10 };
    assert_eq!(listen(&file), (1, Some(place)));
    let variable = file.variable("POSTRIDER_SERVER_LISTEN", "127.0.0.1:2");
    let place = Origin::Environment { name: "POSTRIDER_SERVER_LISTEN".to_owned() };
    assert_eq!(listen(&variable), (2, Some(place)));
    let flag = variable.flag(FlagValue::listen("127.0.0.1:3".to_owned()));
    assert_eq!(listen(&flag), (3, Some(Origin::Flag { name: "--listen" })));
    let loaded = flag.sound();
    assert_eq!(loaded.config.log.level, LogLevel::Debug);
    assert_eq!(loaded.origin("store", "cache"), Some(&Origin::Default));
    assert_eq!(loaded.origin("server", "control_socket"), Some(&Origin::Default));
    assert_eq!(loaded.file, Some("postrider.toml".into()));
}

#[test]
fn unknown_names_are_found_and_near_ones_suggested() {
    let text = "\
listen = \"127.0.0.1:1\"

[server]
  lisen = \"127.0.0.1:1\"
retention = \"1d\"
zzz = 1

[sever]
[projects]
[[project]]
public_key = \"pub\"
secret_key = \"sec\"
secretkey = \"canary\"
";
    assert_eq!(
        World::toml(text).messages(),
        [
            "postrider.toml:1:1: \"listen\" stands outside of any section; \
             did you mean \"listen\" of [server]?",
            "postrider.toml:4:3: unknown key \"lisen\" in [server]; did you mean \"listen\"?",
            "postrider.toml:5:1: unknown key \"retention\" in [server]; \
             did you mean \"retention\" of [store]?",
            "postrider.toml:6:1: unknown key \"zzz\" in [server]",
            "postrider.toml:8:2: unknown section [sever]; did you mean [server]?",
            "postrider.toml:9:2: unknown section [projects]; did you mean [[project]]?",
            "postrider.toml:13:1: unknown key \"secretkey\" in [[project]]; \
             did you mean \"secret_key\"?",
        ]
    );
}

#[test]
fn bad_values_name_the_setting_the_value_and_the_place() {
    let text = "\
[server]
listen = \"localhost:8080\"
header_timeout = 10
body_timeout = \"10\"
idle_timeout = \"2 minutes\"
connections_max = 0
client_burst = \"400\"
trusted_proxies = [\"10.0.0.0/8\",
  \"proxy.internal\", 7]
[store]
cache = \"1KiB\"
path = 5
[delivery]
allow = \"10.0.0.0/8\"
target_burst = -1
[log]
level = \"loud\"
";
    let address = "not an address and a port, for example \"127.0.0.1:8080\" or \"[::1]:8080\"";
    let unit = "give a unit (ms, s, m, h, d), for example \"30s\"";
    assert_eq!(
        World::toml(text).messages(),
        [
            format!("postrider.toml:2:10: [server] listen = \"localhost:8080\": {address}"),
            format!("postrider.toml:3:18: [server] header_timeout = 10: {unit}"),
            format!("postrider.toml:4:16: [server] body_timeout = \"10\": {unit}"),
            "postrider.toml:5:16: [server] idle_timeout = \"2 minutes\": not a duration; write a \
             whole number and one of ms, s, m, h, d, for example \"30s\""
                .to_owned(),
            "postrider.toml:6:19: [server] connections_max = 0: not between 1 and 1000000".into(),
            "postrider.toml:7:16: [server] client_burst = \"400\": wants a whole number, and this \
             is a text"
                .into(),
            "postrider.toml:9:21: [server] trusted_proxies = 7: wants texts in quotes, and this is \
             a number"
                .into(),
            "postrider.toml:11:9: [store] cache = \"1KiB\": not between 1MiB and 64GiB".into(),
            "postrider.toml:12:8: [store] path = 5: wants a path, in quotes, and this is a number"
                .into(),
            "postrider.toml:14:9: [delivery] allow = \"10.0.0.0/8\": wants a list of networks and \
             hosts, and this is a text"
                .into(),
            "postrider.toml:15:16: [delivery] target_burst = -1: not between 1 and 1000000".into(),
            "postrider.toml:17:9: [log] level = \"loud\": not one of \"error\", \"warn\", \
             \"info\", \"debug\", \"trace\""
                .into(),
        ]
    );
    let elements = World::toml("[delivery]\nallow = [\"a\",\n \"http://b\"]\n").messages();
    assert!(elements[0].starts_with("postrider.toml:3:2: [delivery] allow = \"http://b\": not a"));
}

#[test]
fn variables_are_checked_like_the_file() {
    let world = World::default()
        .variable("POSTRIDER_SERVER_LISEN", "x")
        .variable("POSTRIDER_SERVER_HEADER_TIMEOUT", "10")
        .variable("POSTRIDER_LOG_FORMAT", "xml")
        .variable("POSTRIDER_EXTRA_CLIENTS", "somewhere")
        .variable("HOME", "/root");
    assert_eq!(
        world.messages(),
        [
            "env POSTRIDER_SERVER_LISEN: unknown variable; did you mean POSTRIDER_SERVER_LISTEN?",
            "env POSTRIDER_SERVER_HEADER_TIMEOUT: [server] header_timeout = \"10\": give a unit \
             (ms, s, m, h, d), for example \"30s\"",
            "env POSTRIDER_LOG_FORMAT: [log] format = \"xml\": not one of \"auto\", \"pretty\", \
             \"json\", \"journald\"",
        ]
    );
    let world = World::default()
        .variable("POSTRIDER_DELIVERY_TARGET_RATE_PER_SECOND", "7")
        .variable("POSTRIDER_DELIVERY_ALLOW", "10.0.0.0/8, hooks.internal")
        .variable("POSTRIDER_SERVER_TRUSTED_PROXIES", "");
    let config = world.sound().config;
    assert_eq!(config.delivery.target_rate_per_second, 7);
    assert_eq!(config.delivery.allow, ["10.0.0.0/8", "hooks.internal"]);
    assert!(config.server.trusted_proxies.is_empty());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let mut world = World::default();
    let value = OsString::from_vec(vec![0xff]);
    world.environment.insert("POSTRIDER_STORE_PATH".to_owned(), value);
    assert!(world.messages()[0].ends_with("not UTF-8 text"));
}

#[test]
fn syntax_errors_have_places_and_show_no_content() {
    let messages = World::toml("[server]\nlisten = \"canary\n\n[log\n").messages();
    assert!(messages[0].starts_with("postrider.toml:2:"), "{messages:?}");
    assert!(messages.iter().any(|m| m.starts_with("postrider.toml:4:")), "{messages:?}");
    assert!(!messages.concat().contains("canary"));
    let twice = World::toml("[log]\nlevel = \"info\"\nlevel = \"warn\"\n").messages();
    assert!(twice[0].starts_with("postrider.toml:3:1: not valid TOML: duplicate key"), "{twice:?}");
}

#[test]
fn shapes() {
    let text = "log = 1\n[project]\npublic_key = \"a\"\n[[server]]\n[[target]]\n";
    assert_eq!(
        World::toml(text).messages(),
        [
            "postrider.toml:1:1: write it as [log]",
            "postrider.toml:2:2: write it as [[project]]",
            "postrider.toml:4:3: write it as [server]",
            "postrider.toml:5:1: this [[target]] has no origin",
        ]
    );
}

#[test]
fn the_file_is_found_by_flag_variable_or_name() {
    let text = "[log]\nlevel = \"error\"\n";
    let level = |world: World| world.sound().config.log.level;
    assert_eq!(level(World::default().file("a.toml", text).named("a.toml")), LogLevel::Error);
    let variable = World::default().file("b.toml", text).variable("POSTRIDER_CONFIG", "b.toml");
    assert_eq!(level(variable), LogLevel::Error);
    assert_eq!(level(World::toml(text)), LogLevel::Error);
    assert_eq!(
        World::default().named("c.toml").messages(),
        ["c.toml: can't read it: there is no such file"]
    );
    let mut world = World::default();
    world.files.insert("postrider.toml".into(), vec![0xff]);
    assert_eq!(world.messages(), ["postrider.toml: can't read it: not UTF-8 text"]);
    let huge = "#".repeat(postrider::app::config::FILE_BYTES_MAX + 1);
    assert!(World::toml(&huge).messages()[0].contains("larger than 1048576 bytes"));
}

#[test]
fn paths_of_the_file_start_at_its_folder() {
    let text = "[store]\npath = \"data\"\n[delivery]\nca_files = [\"ca.pem\", \"/abs.pem\"]\n";
    let world = World::default().file("/etc/p/p.toml", text).named("/etc/p/p.toml");
    let config = world.sound().config;
    assert_eq!(config.store.path, Path::new("/etc/p/data"));
    assert_eq!(config.server.control_socket, Path::new("/etc/p/data/control.sock"));
    assert_eq!(config.delivery.ca_files, ["/etc/p/ca.pem", "/abs.pem"].map(PathBuf::from));
    let config = world.flag(FlagValue::data("here".to_owned())).sound().config;
    assert_eq!(config.store.path, Path::new("here"));
}

#[test]
fn systemd_gives_the_data_directory_and_keys() {
    let key = "0".repeat(64);
    let world = World::default()
        .variable("STATE_DIRECTORY", "/var/lib/postrider:/var/lib/other")
        .variable("CREDENTIALS_DIRECTORY", "/run/credentials/postrider")
        .file("/run/credentials/postrider/encryption_keys", &format!("{key}\n"));
    let loaded = world.sound();
    assert_eq!(loaded.config.store.path, Path::new("/var/lib/postrider"));
    assert_eq!(loaded.config.store.encryption_keys, [EncryptionKey::new([0; 32])]);
    let origin = loaded.origin("store", "encryption_keys").map(ToString::to_string);
    let expected = "credential /run/credentials/postrider/encryption_keys";
    assert_eq!(origin.as_deref(), Some(expected));
    let other = format!("[store]\npath = \"/p\"\nencryption_keys = [\"{}\"]\n", "1".repeat(64));
    let config = world.file("postrider.toml", &other).sound().config;
    assert_eq!(config.store.path, Path::new("/p"));
    assert_eq!(config.store.encryption_keys, [EncryptionKey::new([0x11; 32])]);
}

#[test]
fn secrets_have_file_twins_and_are_never_shown() {
    let canary = "canary-4711";
    let keys = format!("# new\n{}\n# old\n{}\n", "1".repeat(64), "2".repeat(64));
    let text = "[store]\nencryption_keys_file = \"keys\"\n[delivery]\nproxy_file = \"proxy\"\n\
                [[project]]\npublic_key = \"pub\"\nsecret_key_file = \"sec\"\n";
    let world = World::toml(text)
        .file("keys", &keys)
        .file("proxy", &format!("http://u:{canary}@proxy:3128\n"))
        .file("sec", &format!("{canary}\n"));
    let loaded = world.sound();
    let expected = [EncryptionKey::new([0x11; 32]), EncryptionKey::new([0x22; 32])];
    assert_eq!(loaded.config.store.encryption_keys, expected);
    assert!(loaded.config.projects[0].secret_key.matches(canary));
    let proxy = loaded.config.delivery.proxy.as_ref().expect("a proxy");
    let credentials = proxy.credentials.as_ref().expect("credentials");
    assert!(credentials.matches(&format!("u:{canary}")));
    for shown in [loaded.show(), format!("{loaded:?}")] {
        assert!(!shown.contains(canary) && !shown.contains("1111"), "{shown}");
    }
    let variable = world.variable("POSTRIDER_STORE_ENCRYPTION_KEYS_FILE", "other");
    let variable = variable.file("other", &"3".repeat(64));
    assert_eq!(variable.sound().config.store.encryption_keys, [EncryptionKey::new([0x33; 32])]);
}

#[test]
fn messages_about_secrets_do_not_show_them() {
    let text = "[store]\nencryption_keys = [\"canary\", 7]\n[delivery]\nproxy = \"canary\"\n\
                [[project]]\npublic_key = \"pub\"\nsecret_key = \"canary:\"\n\
                [[project]]\npublic_key = \"pub2\"\nsecret_key_file = \"f\"\n";
    let world = World::toml(text).file("f", "canary canary");
    let messages = world.messages();
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(!messages.concat().contains("canary"), "{messages:?}");
    let one = World::toml("[store]\nencryption_keys = [\"canary\"]\n").messages();
    assert_eq!(
        one,
        ["postrider.toml:2:20: [store] encryption_keys: not 32 bytes in base64 or hex; \
          `openssl rand -base64 32` makes a key"]
    );
}

#[test]
fn both_forms_of_a_secret_are_an_error() {
    let text = "[store]\nencryption_keys = []\nencryption_keys_file = \"f\"\n\
                [[project]]\npublic_key = \"p\"\nsecret_key = \"s\"\nsecret_key_file = \"f\"\n";
    assert_eq!(
        World::toml(text).messages(),
        [
            "postrider.toml:3:24: [store] encryption_keys and encryption_keys_file are both given; \
             keep one of them",
            "postrider.toml:7:19: [[project]] secret_key and secret_key_file are both given; keep \
             one of them",
        ]
    );
    let world = World::default()
        .variable("POSTRIDER_DELIVERY_PROXY", "none")
        .variable("POSTRIDER_DELIVERY_PROXY_FILE", "f");
    assert_eq!(
        world.messages(),
        [
            "env POSTRIDER_DELIVERY_PROXY_FILE: [delivery] proxy and proxy_file are both given; keep \
          one of them"
        ]
    );
    let missing = World::toml("[store]\nencryption_keys_file = \"gone\"\n").messages();
    assert_eq!(
        missing,
        ["postrider.toml:2:24: [store] encryption_keys_file = \"gone\": can't read that file: \
          there is no such file"]
    );
}

#[test]
fn projects_and_targets() {
    let text = "\
[[project]]
id = 7
name = \"Shop\"
public_key = \"pub\"
secret_key = \"sec\"
cdn_base = \"https://cdn.example/\"
auto_store = true
event_types = [\"file.uploaded\", \"order.paid\"]
allow = [\"10.0.0.0/8\"]

[[target]]
origin = \"https://Hooks.Example:443/\"
rate_per_second = 5
in_flight = 2
";
    let config = World::toml(text).sound().config;
    let project = &config.projects[0];
    assert_eq!(project.id.map(|id| id.get()), Some(7));
    assert_eq!(project.name.as_deref(), Some("Shop"));
    assert_eq!(project.public_key, "pub");
    assert!(project.secret_key.matches("sec"));
    assert_eq!(project.settings.cdn_base.as_deref(), Some("https://cdn.example"));
    assert!(project.settings.auto_store);
    let events = project.settings.event_types.as_ref().expect("a closed list");
    assert_eq!(events, &["file.uploaded", "order.paid"]);
    assert_eq!(project.settings.allow, ["10.0.0.0/8"]);
    assert_eq!(project.place.line(), Some(1));
    let target = &config.targets[0];
    assert_eq!(target.origin.to_string(), "https://hooks.example");
    assert_eq!((target.rate_per_second, target.burst, target.in_flight), (Some(5), None, Some(2)));
    let minimal = World::toml(PROJECT).sound().config;
    assert_eq!((minimal.projects[0].id, &minimal.projects[0].name), (None, &None));
    assert_eq!(minimal.projects[0].settings, Default::default());
}

#[test]
fn entries_must_be_whole_and_differ() {
    let text = "\
[[project]]
id = 1
public_key = \"a\"
secret_key = \"canary\"
[[project]]
id = 1
public_key = \"a\"
secret_key_file = \"same\"
[[project]]
id = 2147483648
event_types = []
[[target]]
origin = \"https://a.example\"
[[target]]
origin = \"https://a.example:443/\"
[[target]]
origin = \"https://a.example/path\"
";
    let messages = World::toml(text).file("same", "canary\n").messages();
    assert_eq!(
        messages,
        [
            "postrider.toml:6:6: [[project]] id = 1 is the same as that of the entry on line 2",
            "postrider.toml:7:14: [[project]] public_key = \"a\" is the same as that of the entry on \
             line 3",
            "postrider.toml:8:19: [[project]] secret_key is the same as that of the entry on line 4",
            "postrider.toml:9:1: this [[project]] has no public_key",
            "postrider.toml:9:1: this [[project]] has no secret_key or secret_key_file",
            "postrider.toml:10:6: [[project]] id = 2147483648: not between 1 and 2147483647",
            "postrider.toml:11:15: [[project]] event_types = []: the list is empty; leave the key \
             out instead",
            "postrider.toml:15:10: [[target]] origin = \"https://a.example\" is the same as that of \
             the entry on line 13",
            "postrider.toml:17:10: [[target]] origin = \"https://a.example/path\": not scheme, host \
             and port alone, for example \"https://hooks.example.com\"",
        ]
    );
}

#[test]
fn settings_must_not_contradict_each_other() {
    let text = "[delivery]\nconnect_timeout = \"2m\"\n[publish]\nrequest_bytes_max = \"64KiB\"\n";
    assert_eq!(
        World::toml(text).messages(),
        [
            "postrider.toml:2:19: [delivery] connect_timeout = \"2m\" must not be more than \
             [delivery] attempt_timeout = \"1m\"",
            "postrider.toml:4:21: [publish] event_bytes_max = \"1MiB\" must not be more than \
             [publish] request_bytes_max = \"64KiB\"",
        ]
    );
    let broken = World::toml("[delivery]\nattempt_timeout = \"soon\"\n").messages();
    assert_eq!(broken.len(), 1, "{broken:?}");
}

#[test]
fn the_generated_file_is_the_defaults() {
    let text = default_toml();
    let as_it_is = World::toml(&text).sound().config;
    assert_eq!(as_it_is, World::default().sound().config);

    // With every setting switched on it is still sound, and says nothing but the defaults.
    let active: String = text.lines().map(|line| uncommented(line) + "\n").collect();
    let mut world = World::toml(&active)
        .file("/etc/postrider/encryption_keys", &"1".repeat(64))
        .file("/etc/postrider/proxy", "none")
        .file("/etc/postrider/demo_secret_key", "demosecretkey");
    let loaded = world.sound();
    assert_eq!((loaded.config.projects.len(), loaded.config.targets.len()), (1, 1));
    let defaults = World::default().sound();
    for effective in &defaults.effective {
        let same = |e: &&postrider::app::config::Effective| {
            (e.section, e.key) == (effective.section, effective.key)
        };
        let now = loaded.effective.iter().find(same).expect("every setting is in the file");
        assert!(matches!(now.origin, Origin::File { .. }), "{now:?}");
        let example = effective.value == "[]" || effective.key == "control_socket";
        assert!(example || now.value == effective.value, "{now:?} {effective:?}");
    }

    // And what `config show` prints of it can be read again, masks aside.
    let shown = loaded.show();
    for mask in ["encryption_keys = ", "proxy = ", "secret_key = "] {
        let line = shown.lines().find(|line| line.starts_with(mask)).expect(mask);
        assert!(line.contains("\"********\""), "{line}");
    }
    let masked = |line: &&str| !line.contains("********");
    let readable: Vec<&str> = shown.lines().filter(masked).collect();
    world.files.insert("postrider.toml".into(), readable.join("\n").into_bytes());
    let messages = world.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].ends_with("has no secret_key or secret_key_file"), "{messages:?}");
}

/// `#key = value` and `#[[section]]` without the `#`; comments start with `# `.
fn uncommented(line: &str) -> String {
    match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting.to_owned(),
        _ => line.to_owned(),
    }
}
