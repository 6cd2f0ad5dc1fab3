//! The machine, the database, the broker and the SMTP server, each broken in one way.

use super::{Looked, bare, lines, look, node, with};
use crate::private::Private;
use bursar::serve::CLOCK_SKEW_VARIABLE;
use bursar_services::Exim;
use bursar_tests::app::create_database;
use bursar_tests::chaos::node::Launch;
use bursar_tests::unique::unique;
use sea_orm::{ConnectionTrait, Database};
use std::os::unix::fs::PermissionsExt;

/// One setting, broken.
struct Broken<'a> {
    what: &'a str,
    variables: Vec<(&'a str, String)>,
    /// The checks that fail; no other does.
    fails: &'a [&'a str],
    /// A part of what the first of them says.
    says: &'a str,
}

/// Looks with a broken setting, as JSON and as lines.
async fn expect(launch: &Launch, broken: &Broken<'_>) -> Looked {
    let variables: Vec<(&str, &str)> = broken.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let launch = with(launch, &variables);
    let looked = look(&launch, &[]).await;
    assert_eq!(looked.names("fail"), broken.fails, "{}: {}", broken.what, looked.ran.out);
    let said = looked.said(broken.fails[0]);
    assert!(said.contains(broken.says), "{}: {said}", broken.what);
    let (code, lines) = lines(&launch, &[]).await;
    assert_eq!(code, Some(1), "{}", broken.what);
    for name in broken.fails {
        let is_it = |line: &String| line.starts_with("FAIL ") && line.contains(&format!(" {name} "));
        assert!(lines.iter().any(is_it), "{}: {name} in {lines:#?}", broken.what);
    }
    looked
}

/// The URL of the same server for another user, or for another database.
fn changed(url: &str, user: Option<&str>, database: Option<&str>) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (place, path) = rest.split_once('/').unwrap();
    let (login, host) = place.rsplit_once('@').unwrap_or(("", place));
    let login = user.unwrap_or(login);
    format!("{scheme}://{login}@{host}/{}", database.unwrap_or(path))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_the_database_fails_its_check_and_no_other() {
    let (app, program) = node().await;
    let url = app.config.database_url.clone();
    let maintenance = std::env::var("BURSAR_TEST_DATABASE_URL").unwrap();
    let empty = create_database(&maintenance, &format!("bursar_empty_{}", unique())).await;
    let role = format!("bursar_nobody_{}", unique());
    let connection = Database::connect(&url).await.unwrap();
    connection.execute_unprepared(&format!("CREATE ROLE {role} LOGIN PASSWORD 'fK3x9Qw7'")).await.unwrap();
    let as_nobody = changed(&url, Some(&format!("{role}:fK3x9Qw7")), None);
    let one = |name, value: &str| vec![(name, value.to_owned())];
    for broken in [
        Broken {
            what: "it is away",
            variables: one("DATABASE_URL", "postgres://bursar@127.0.0.1:1/bursar"),
            fails: &["database"],
            says: "refuses connections: check that it is running",
        },
        Broken {
            what: "the login is wrong",
            variables: one("DATABASE_URL", &changed(&url, Some("no_such_user:fK3x9Qw7"), None)),
            fails: &["database"],
            says: "does not let no_such_user in",
        },
        Broken {
            what: "it does not exist",
            variables: one("DATABASE_URL", &changed(&url, None, Some("no_such_database"))),
            fails: &["database"],
            says: "has no database no_such_database",
        },
        Broken {
            what: "it is not migrated",
            variables: one("DATABASE_URL", &empty),
            fails: &["database.schema"],
            says: "bursar migrate up",
        },
        Broken {
            what: "the user may nothing",
            variables: one("DATABASE_URL", &as_nobody),
            fails: &["database.privileges", "database.schema"],
            says: "may not read and write",
        },
        Broken {
            what: "there are too few connections",
            variables: one("BURSAR_DATABASE__CONNECTIONS_MAX", "5000"),
            fails: &["database.connections"],
            says: "room for 0 processes of 5000 connections",
        },
        Broken {
            what: "the clocks differ",
            variables: one(CLOCK_SKEW_VARIABLE, "600000"),
            fails: &["database.clock"],
            says: "the machine's clock differs from the database's by ",
        },
    ] {
        let looked = expect(&program.launch, &broken).await;
        assert!(looked.names("ok").contains(&"broker.topology"), "{}: {}", broken.what, looked.ran.out);
    }
    // A migration is pending.
    connection
        .execute_unprepared("DELETE FROM seaql_migrations WHERE version = 'm0031_disputed_payments'")
        .await
        .unwrap();
    let looked = look(&program.launch, &[]).await;
    assert!(looked.said("database.schema").contains("m0031_disputed_payments"), "{}", looked.ran.out);
    // The database takes no writes.
    let name = url.rsplit_once('/').unwrap().1;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    connection.execute_unprepared(&read_only).await.unwrap();
    let looked = look(&program.launch, &[]).await;
    assert_eq!(looked.names("fail"), ["database.writable", "database.schema"], "{}", looked.ran.out);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_the_broker_fails_its_check_and_no_other() {
    let (app, program) = node().await;
    let url = app.config.amqp_url.clone();
    let one = |name, value: &str| vec![(name, value.to_owned())];
    for broken in [
        Broken {
            what: "it is away",
            variables: one("AMQP_URL", "amqp://guest:guest@127.0.0.1:1/%2f"),
            fails: &["broker"],
            says: "the broker cannot be reached",
        },
        Broken {
            what: "the password is wrong",
            variables: one("AMQP_URL", &changed(&url, Some("guest:fK3x9Qw7"), None)),
            fails: &["broker"],
            says: "AMQP_URL",
        },
        Broken {
            what: "the virtual host does not exist",
            variables: one("AMQP_URL", &changed(&url, None, Some("nowhere"))),
            fails: &["broker"],
            says: "AMQP_URL",
        },
        Broken {
            what: "the queues are of other settings",
            variables: one("BURSAR_AMQP__QUEUE_LEN_MAX", "9999"),
            fails: &["broker.topology"],
            says: "amqp.prefix",
        },
    ] {
        let looked = expect(&program.launch, &broken).await;
        assert!(looked.names("ok").contains(&"database.schema"), "{}: {}", broken.what, looked.ran.out);
    }
    let new = with(&program.launch, &[("BURSAR_AMQP__PREFIX", &format!("test.{}", unique()))]);
    for _ in 0..2 {
        let said = look(&new, &[]).await.said("broker.topology");
        assert!(said.contains("are made at the first start"), "a preflight makes none: {said}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_to_or_that_others_can_open_is_told() {
    let (launch, folder) = bare();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let below = folder.path().join("file/data").display().to_string();
    let broken = Broken {
        what: "the data folder is below a file",
        variables: vec![("BURSAR_DATA_DIR", below)],
        fails: &["data_folder"],
        says: "is no folder",
    };
    expect(&launch, &broken).await;

    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("secrets.json"), "{}").unwrap();
    std::fs::set_permissions(data.join("secrets.json"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let looked = look(&with(&launch, &[("BURSAR_DATA_DIR", &data.display().to_string())]), &[]).await;
    assert!(looked.names("warn").contains(&"data_folder"), "{}", looked.ran.out);
    assert!(looked.said("data_folder").contains("secrets.json (0644)"), "{}", looked.ran.out);

    let weak = r#"{ "admin_token": "changeme-changeme-changeme-changeme" }"#;
    std::fs::write(data.join("secrets.json"), weak).unwrap();
    let looked = look(&with(&launch, &[("BURSAR_DATA_DIR", &data.display().to_string())]), &[]).await;
    assert_eq!(looked.names("fail"), ["config"], "{}", looked.ran.out);
    assert!(!looked.ran.out.contains("changeme-"), "{}", looked.ran.out);
}

#[tokio::test]
async fn each_fault_of_the_mail_server_fails_its_check_and_no_other() {
    let server = Private::start(Exim::start).await;
    let (plain, good, wrong) =
        server.run(|exim| Ok((exim.url(), exim.url_with("s3cret%2Fpass%20word"), exim.url_with("fK3x9Qw7")))).await;
    let (launch, _folder) = bare();
    let sender = ("BURSAR_MAIL__FROM", "billing@acme.example");
    let launch = with(&launch, &[sender, ("BURSAR_PUBLIC_URL", "https://billing.acme.example")]);
    for url in [&plain, &good] {
        let looked = look(&with(&launch, &[("SMTP_URL", url)]), &[]).await;
        assert!(looked.names("ok").contains(&"mail.login"), "{url}: {}", looked.ran.out);
    }
    for (what, url, says) in [
        ("it is away", "smtp://127.0.0.1:1".to_owned(), "no mail can be sent"),
        ("the login is wrong", wrong, "535"),
        ("it offers no encryption", format!("{plain}?tls=required"), "STARTTLS"),
    ] {
        let broken = Broken { what, variables: vec![("SMTP_URL", url)], fails: &["mail.login"], says };
        expect(&launch, &broken).await;
    }
    let variables = [("SMTP_URL", "smtp://192.0.2.1?tls=none"), ("BURSAR_MAIL__TIMEOUT_MS", "200")];
    let looked = look(&with(&launch, &variables), &[]).await;
    assert!(looked.names("warn").contains(&"mail.encryption"), "{}", looked.ran.out);
}
