//! A private RabbitMQ node.

use crate::error::make_dir;
use crate::process::Process;
use crate::{Error, amqp, find};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a start may take; an Erlang system on a busy machine is slow to boot.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How long an orderly stop may take before the node is killed.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long the port mapper may take.
const MAPPER_LIMIT: Duration = Duration::from_secs(10);
/// Attempts to start on free ports, which another process may take first.
const START_TRIES: u32 = 3;

/// A RabbitMQ node that is stopped when this is dropped.
///
/// It has its own port mapper (`epmd`), no plugins, and the user `guest`, and listens on the loopback address only.
/// Its ports stay the same.
#[derive(Debug)]
pub struct RabbitMq {
    program: PathBuf,
    dir: PathBuf,
    ports: Ports,
    // In this order, the node is dropped before its port mapper.
    node: Option<Process>,
    mapper: Option<Process>,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    amqp: u16,
    distribution: u16,
    mapper: u16,
}

impl Ports {
    fn free() -> Result<Ports, Error> {
        Ok(Ports { amqp: find::free_port()?, distribution: find::free_port()?, mapper: find::free_port()? })
    }
}

impl RabbitMq {
    /// Starts a node with all its files in `dir`, and waits until a client can open the default virtual host.
    ///
    /// # Errors
    /// When the programs are missing or the node does not accept clients in time.
    pub fn start(dir: &Path) -> Result<RabbitMq, Error> {
        let mut rabbitmq = RabbitMq {
            program: find::rabbitmq_server()?,
            dir: make_dir(dir, 0o700)?,
            ports: Ports::free()?,
            node: None,
            mapper: None,
        };
        let mut attempt = 1;
        loop {
            match rabbitmq.start_again() {
                Err(Error::Failed { .. }) if attempt < START_TRIES => {
                    rabbitmq.mapper = None;
                    rabbitmq.ports = Ports::free()?;
                    attempt += 1;
                }
                result => return result.map(|()| rabbitmq),
            }
        }
    }

    /// The URL for clients: the user `guest` and the default virtual host.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports.amqp)
    }

    /// The AMQP port, which stays the same.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.amqp
    }

    /// The id of the node's process, or `None` if it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.node.as_ref().map(Process::pid)
    }

    /// The node's log file.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("rabbitmq.log")
    }

    /// Stops the node in order. No error if it is already stopped.
    ///
    /// # Errors
    /// When the process cannot be signalled or waited for.
    pub fn stop(&mut self) -> Result<(), Error> {
        match self.node.take() {
            Some(node) => node.end("TERM", STOP_LIMIT),
            None => Ok(()),
        }
    }

    /// Kills the node with `SIGKILL`, as in a crash.
    ///
    /// A durable queue, exchange or binding declared just before can be lost: the broker stores it shortly after
    /// confirming it.
    ///
    /// # Errors
    /// When the process cannot be signalled or waited for.
    pub fn kill(&mut self) -> Result<(), Error> {
        match self.node.take() {
            Some(node) => node.kill(),
            None => Ok(()),
        }
    }

    /// Starts the stopped node on the same ports with the same data. No error if it already runs.
    ///
    /// # Errors
    /// When the node does not accept clients in time.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if let Some(node) = &mut self.node
            && node.ended()?.is_none()
        {
            return Ok(());
        }
        self.start_mapper()?;
        self.write_settings()?;
        let command = self.command(&self.program);
        let mut node = Process::start("rabbitmq-server", command, &self.log(), "KILL")?;
        let (port, name) = (self.ports.amqp, self.name());
        node.wait_ready(START_LIMIT, || amqp::takes_clients(port, &name))?;
        self.node = Some(node);
        Ok(())
    }

    /// Stops the node in order and starts it again on the same ports with the same data.
    /// For a crash, use [`kill`](Self::kill) and [`start_again`](Self::start_again).
    ///
    /// # Errors
    /// Those of [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop()?;
        self.start_again()
    }

    /// Sets or clears the node's memory alarm, during which it accepts nothing from clients.
    ///
    /// # Errors
    /// When the node's tool is missing or does not reach it.
    pub fn set_memory_alarm(&self, is_on: bool) -> Result<(), Error> {
        let watermark = if is_on { "0.0000001" } else { "0.9" };
        let mut command = find::hermetic(&self.program.with_file_name("rabbitmqctl"));
        self.configure(&mut command);
        let output = command.args(["set_vm_memory_high_watermark", watermark]).output();
        let output = output.map_err(Error::io("cannot run rabbitmqctl".to_owned()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(Error::Failed {
            what: "rabbitmqctl did not set the memory limit".to_owned(),
            output: String::from_utf8_lossy(&said).into_owned(),
        })
    }

    /// Replaces the node by an empty one on the same ports, as after the loss of a disk: every queue, exchange and
    /// message is gone.
    ///
    /// # Errors
    /// When the node does not end, its data cannot be removed, or it does not start again.
    pub fn wipe(&mut self) -> Result<(), Error> {
        self.kill()?;
        let data = self.data();
        std::fs::remove_dir_all(&data).map_err(Error::io(format!("cannot remove {}", data.display())))?;
        self.start_again()
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The node's name without the host. The port makes it unique on this machine.
    fn name(&self) -> String {
        format!("bursar-{}", self.ports.amqp)
    }

    /// Starts the port mapper in the foreground. Otherwise Erlang would start it as a daemon that nobody stops.
    fn start_mapper(&mut self) -> Result<(), Error> {
        if let Some(mapper) = &mut self.mapper
            && mapper.ended()?.is_none()
        {
            return Ok(());
        }
        let mut command = self.command(&find::epmd()?);
        command.arg("-port").arg(self.ports.mapper.to_string());
        let log = self.dir.join("epmd.log");
        let mut mapper = Process::start("epmd", command, &log, "KILL")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.mapper));
        mapper.wait_ready(MAPPER_LIMIT, || TcpStream::connect(address).is_ok())?;
        self.mapper = Some(mapper);
        Ok(())
    }

    fn write_settings(&self) -> Result<(), Error> {
        make_dir(&self.data(), 0o700)?;
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             disk_free_limit.absolute = 50MB\n\
             log.console = true\n",
            self.ports.amqp
        );
        for (name, content) in [("rabbitmq.conf", settings.as_str()), ("enabled_plugins", "[].\n")] {
            let path = self.dir.join(name);
            std::fs::write(&path, content).map_err(Error::io(format!("cannot write {}", path.display())))?;
        }
        Ok(())
    }

    /// A command with this node's settings and none of the machine's.
    fn command(&self, program: &Path) -> Command {
        let mut command = find::gated(program);
        self.configure(&mut command);
        command
    }

    fn configure(&self, command: &mut Command) {
        let in_dir = |name: &str| self.dir.join(name);
        command
            .current_dir(&self.dir)
            // The Erlang cookie is made here.
            .env("HOME", &self.dir)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.ports.mapper.to_string())
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            // Makes the script replace itself by the Erlang system, which is then our child. It has no other effect
            // without NOTIFY_SOCKET.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("RABBITMQ_NODENAME", format!("{}@localhost", self.name()))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.ports.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.ports.distribution.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", in_dir("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", in_dir("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", in_dir("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", self.data())
            .env("RABBITMQ_SCHEMA_DIR", in_dir("data/schema"))
            .env("RABBITMQ_PID_FILE", in_dir("rabbitmq.pid"))
            .env("RABBITMQ_LOG_BASE", &self.dir)
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "+S 2:2 -kernel inet_dist_use_interface {127,0,0,1}");
    }
}

#[cfg(test)]
mod tests;
