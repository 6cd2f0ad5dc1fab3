//! A private SMTP server: Exim, which stores accepted mail in files.

use crate::Error;
use crate::error::make_dir;
use crate::find::{self, Account};
use crate::process::Process;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a start may take.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long an orderly stop may take before the server is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Attempts to start on a free port, which another process may take first.
const START_TRIES: u32 = 3;

/// The user of [`Exim`].
pub const SMTP_USER: &str = "bursar";
/// The user's password.
pub const SMTP_PASSWORD: &str = "s3cret/pass word";

/// An SMTP server that is stopped when this is dropped.
///
/// It delivers mail for any address into a Maildir, but refuses the local part `unknown` permanently (550) and `busy`
/// temporarily (450). A login is optional. Its port stays the same.
#[derive(Debug)]
pub struct Exim {
    program: PathBuf,
    account: Account,
    /// Whether the server needs another account, because the caller is root.
    drops: bool,
    dir: PathBuf,
    port: u16,
    server: Option<Process>,
}

impl Exim {
    /// Starts a server with all its files in `dir`. As root, it runs as the user `Debian-exim`, who becomes the owner
    /// of `dir` and must be able to reach it.
    ///
    /// # Errors
    /// When the program is missing or the server does not accept clients in time.
    pub fn start(dir: &Path) -> Result<Exim, Error> {
        let program = find::exim()?;
        let unprivileged = find::unprivileged("Debian-exim")?;
        let dir = make_dir(dir, 0o700)?;
        let mut exim = Exim {
            program,
            account: unprivileged.map_or_else(find::own_account, Ok)?,
            drops: unprivileged.is_some(),
            dir,
            port: 0,
            server: None,
        };
        for attempt in 1.. {
            exim.port = find::free_port()?;
            match exim.start_again() {
                Err(Error::Failed { .. }) if attempt < START_TRIES => {}
                result => return result.map(|()| exim),
            }
        }
        unreachable!("the last attempt returns");
    }

    /// The URL for clients that do not log in.
    #[must_use]
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The URL for clients that log in as [`SMTP_USER`] with this password, percent-encoded.
    #[must_use]
    pub fn url_with(&self, password: &str) -> String {
        format!("smtp://{SMTP_USER}:{password}@127.0.0.1:{}", self.port)
    }

    /// The server's log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("exim.log")
    }

    /// Every delivered mail, in no particular order.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn delivered(&self) -> Result<Vec<String>, Error> {
        // Incomplete mails are in the folder `tmp`.
        let Ok(entries) = std::fs::read_dir(self.dir.join("mail/new")) else { return Ok(Vec::new()) };
        let read = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read(entry?.path());
        let mails: Result<Vec<_>, _> = entries.map(read).collect();
        let mails = mails.map_err(Error::io("cannot read a delivered mail"))?;
        Ok(mails.into_iter().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect())
    }

    /// Stops the server. No error when it is stopped already.
    ///
    /// # Errors
    /// When the process cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<(), Error> {
        match self.server.take() {
            Some(server) => server.end("TERM", STOP_LIMIT),
            None => Ok(()),
        }
    }

    /// Starts the stopped server on the same port with the same data. No error when it runs already.
    ///
    /// # Errors
    /// When the server does not accept clients in time.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if let Some(server) = &mut self.server
            && server.ended()?.is_none()
        {
            return Ok(());
        }
        let settings = self.write_settings()?;
        let mut command = find::gated(&self.program);
        // In the foreground, without a queue runner: mail is delivered when it arrives.
        command.current_dir(&self.dir).arg("-C").arg(settings).arg("-bdf");
        if self.drops {
            command.uid(self.account.uid).gid(self.account.gid);
        }
        let mut server = Process::start("exim", command, &self.log(), "KILL")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        server.wait_ready(START_LIMIT, || TcpStream::connect(address).is_ok())?;
        self.server = Some(server);
        Ok(())
    }

    fn write_settings(&self) -> Result<PathBuf, Error> {
        let Account { uid, gid } = self.account;
        let (dir, port) = (self.dir.display(), self.port);
        let settings = format!(
            "primary_hostname = mail.test\n\
             exim_user = {uid}\n\
             exim_group = {gid}\n\
             admin_groups = {gid}\n\
             never_users =\n\
             deliver_drop_privilege = true\n\
             spool_directory = {dir}/spool\n\
             log_file_path = {dir}/%slog\n\
             pid_file_path = {dir}/exim.pid\n\
             local_interfaces = 127.0.0.1\n\
             daemon_smtp_ports = {port}\n\
             tls_advertise_hosts =\n\
             host_lookup =\n\
             rfc1413_hosts =\n\
             keep_environment =\n\
             check_spool_space = 0\n\
             acl_smtp_rcpt = rcpt\n\
             acl_smtp_data = accept\n\
             begin acl\n\
             rcpt:\n\
             \x20 deny local_parts = unknown\n\
             \x20   message = 550 no such user here\n\
             \x20 defer local_parts = busy\n\
             \x20   message = 450 come again\n\
             \x20 accept\n\
             begin routers\n\
             everybody:\n\
             \x20 driver = accept\n\
             \x20 transport = files\n\
             begin transports\n\
             files:\n\
             \x20 driver = appendfile\n\
             \x20 directory = {dir}/mail\n\
             \x20 maildir_format\n\
             \x20 envelope_to_add\n\
             begin retry\n\
             * * F,1h,1m\n\
             begin authenticators\n\
             plain:\n\
             \x20 driver = plaintext\n\
             \x20 public_name = PLAIN\n\
             \x20 server_condition = ${{if and {{{{eq{{$auth2}}{{{SMTP_USER}}}}}{{eq{{$auth3}}{{{SMTP_PASSWORD}}}}}}}}}\n\
             \x20 server_set_id = $auth2\n"
        );
        let path = self.dir.join("exim.conf");
        std::fs::write(&path, settings).map_err(Error::io(format!("cannot write {}", path.display())))?;
        for name in ["spool", "mail"] {
            self.give(&make_dir(&self.dir.join(name), 0o700)?)?;
        }
        self.give(&path)?;
        self.give(&self.dir)?;
        Ok(path)
    }

    fn give(&self, path: &Path) -> Result<(), Error> {
        if !self.drops {
            return Ok(());
        }
        let Account { uid, gid } = self.account;
        chown(path, Some(uid), Some(gid)).map_err(Error::io(format!("cannot change the owner of {}", path.display())))
    }
}
