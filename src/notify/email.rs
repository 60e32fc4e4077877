//! Email over SMTP (RFC 5321): the subset needed to hand a message to a relay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Variable of the environment that holds the password.
const PASSWORD: &str = "HEXPORT_SMTP_PASSWORD";
/// Timeout of each step of the conversation.
const PATIENCE: Duration = Duration::from_secs(30);

/// `[notify.email]` of the settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mail {
    /// The server and its port, such as `smtp.example.com:587`.
    pub server: String,
    /// Encryption of the connection.
    pub tls: Tls,
    /// Address of the sender.
    pub from: String,
    /// Addresses of the usual recipients.
    pub to: Vec<String>,
    /// User to log in as; without one, there is no login.
    pub user: Option<String>,
    /// File that holds the password; `HEXPORT_SMTP_PASSWORD` takes precedence.
    pub password_file: Option<PathBuf>,
}

/// Encryption of a connection to a mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Starts in plain text and upgrades to TLS before anything is sent.
    #[default]
    Starttls,
    /// TLS from the beginning.
    Implicit,
    /// None: to a relay on this machine.
    None,
}

/// Flaw in the settings for email.
#[derive(Debug, thiserror::Error)]
pub enum MailFlaw {
    /// A sender or recipient isn't an address.
    #[error("'{0}' is not an email address")]
    Address(String),
    /// The server's name or port is missing.
    #[error("server needs a name and a port, such as smtp.example.com:587")]
    Server,
    /// Mail would travel unencrypted.
    #[error("tls = \"none\" is only for a server on this machine")]
    Plain,
    /// The password file can't be read.
    #[error("{} can't be read: {source}", path.display())]
    PasswordFile {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// There is a user without a password.
    #[error("user needs a password: set {PASSWORD} or password_file")]
    NoPassword,
}

/// Errors of sending an email.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings can't be used.
    #[error("[notify.email] in hexport.toml: {0}")]
    Settings(#[from] MailFlaw),
    /// The server can't be reached, or the connection broke.
    #[error("the mail server {server} can't be reached")]
    Io {
        /// The server.
        server: String,
        /// Error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The server refused a command.
    #[error("the mail server {server} refused {command}: {said}")]
    Refused {
        /// The server.
        server: String,
        /// The command, without secrets.
        command: String,
        /// Its response.
        said: String,
    },
}

/// Sends a text to one or more addresses, separated by commas.
pub(super) async fn send(mail: &Mail, to: &str, subject: &str, text: &str) -> Result<(), Error> {
    let recipients: Vec<&str> = to.split(',').map(str::trim).filter(|address| !address.is_empty()).collect();
    let is_address = |address: &str| {
        address.contains('@') && address.chars().all(|c| c.is_ascii_graphic() && !"<>".contains(c))
    };
    for address in recipients.iter().copied().chain([mail.from.as_str()]) {
        if !is_address(address) {
            return Err(MailFlaw::Address(address.to_owned()).into());
        }
    }
    let (host, port) = mail
        .server
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_owned(), port.parse::<u16>().ok()?)))
        .ok_or(MailFlaw::Server)?;
    let is_local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    if mail.tls == Tls::None && !is_local {
        return Err(MailFlaw::Plain.into());
    }
    let failed = |source| Error::Io { server: mail.server.clone(), source };
    let connect = TcpStream::connect((host.trim_matches(['[', ']']), port));
    let stream = timed(connect).await.map_err(failed)?;
    let login = login(mail)?;
    let content = content(mail, &recipients, subject, text);
    let envelope = Envelope { mail, recipients: &recipients, login, content: &content };
    match mail.tls {
        Tls::None => Session::new(mail, stream).talk(&envelope, Greeting::Expected).await,
        Tls::Implicit => {
            let stream = secured(stream, &host).await.map_err(failed)?;
            Session::new(mail, stream).talk(&envelope, Greeting::Expected).await
        }
        Tls::Starttls => {
            let mut plain = Session::new(mail, stream);
            plain.answer("the greeting", 220).await?;
            plain.command("EHLO hexport", "EHLO", 250).await?;
            plain.command("STARTTLS", "STARTTLS", 220).await?;
            // What the server sent before TLS is not part of the conversation in TLS.
            let stream = secured(plain.stream.into_inner(), &host).await.map_err(failed)?;
            Session::new(mail, stream).talk(&envelope, Greeting::Past).await
        }
    }
}

async fn timed<T>(step: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

async fn secured(
    stream: TcpStream,
    host: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls_platform_verifier::ConfigVerifierExt;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ClientConfig::with_platform_verifier().map_err(std::io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
    timed(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

/// The argument of AUTH PLAIN, if there is a login.
fn login(mail: &Mail) -> Result<Option<String>, Error> {
    let Some(user) = &mail.user else { return Ok(None) };
    let password = match (std::env::var(PASSWORD), &mail.password_file) {
        (Ok(password), _) if !password.is_empty() => password,
        (_, Some(path)) => std::fs::read_to_string(path)
            .map_err(|source| MailFlaw::PasswordFile { path: path.clone(), source })?
            .trim()
            .to_owned(),
        _ => return Err(MailFlaw::NoPassword.into()),
    };
    Ok(Some(BASE64_STANDARD.encode(format!("\0{user}\0{password}"))))
}

/// The message with its headers. Its text goes in base64, so that no line of it is too long or begins with a dot.
fn content(mail: &Mail, recipients: &[&str], subject: &str, text: &str) -> String {
    let wrapped = |encoded: &str| {
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        lines.join("\r\n")
    };
    // An encoded word is at most 75 characters long, and holds whole characters.
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in subject.chars().filter(|c| !c.is_control()) {
        if word.len() + c.len_utf8() > 42 {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<String> =
        words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64_STANDARD.encode(word))).collect();
    let domain = mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    format!(
        "From: hexport <{}>\r\nTo: {}\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{}@{domain}>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\nAuto-Submitted: auto-generated\r\n\r\n{}\r\n",
        mail.from,
        recipients.join(", "),
        words.join("\r\n "),
        Utc::now().to_rfc2822(),
        uuid::Uuid::new_v4(),
        wrapped(&BASE64_STANDARD.encode(text)),
    )
}

/// Whether the server still has to greet.
#[derive(PartialEq)]
enum Greeting {
    Expected,
    Past,
}

struct Envelope<'a> {
    mail: &'a Mail,
    recipients: &'a [&'a str],
    login: Option<String>,
    content: &'a str,
}

struct Session<'a, S> {
    mail: &'a Mail,
    stream: BufReader<S>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    fn new(mail: &'a Mail, stream: S) -> Self {
        Self { mail, stream: BufReader::new(stream) }
    }

    async fn talk(mut self, envelope: &Envelope<'_>, greeting: Greeting) -> Result<(), Error> {
        if greeting == Greeting::Expected {
            self.answer("the greeting", 220).await?;
        }
        self.command("EHLO hexport", "EHLO", 250).await?;
        if let Some(login) = &envelope.login {
            self.command(&format!("AUTH PLAIN {login}"), "AUTH", 235).await?;
        }
        let from = &envelope.mail.from;
        self.command(&format!("MAIL FROM:<{from}>"), "MAIL FROM", 250).await?;
        for to in envelope.recipients {
            self.command(&format!("RCPT TO:<{to}>"), &format!("RCPT TO:<{to}>"), 250).await?;
        }
        self.command("DATA", "DATA", 354).await?;
        self.command(&format!("{}.", envelope.content), "the message", 250).await?;
        // It is delivered, whatever comes of this.
        let _ = self.command("QUIT", "QUIT", 221).await;
        Ok(())
    }

    async fn command(&mut self, line: &str, name: &str, wanted: u16) -> Result<(), Error> {
        let failed = |source| Error::Io { server: self.mail.server.clone(), source };
        let text = format!("{line}\r\n");
        timed(self.stream.write_all(text.as_bytes())).await.map_err(failed)?;
        timed(self.stream.flush()).await.map_err(failed)?;
        self.answer(name, wanted).await
    }

    async fn answer(&mut self, command: &str, wanted: u16) -> Result<(), Error> {
        let server = self.mail.server.clone();
        let said = loop {
            let mut line = String::new();
            let read = timed(self.stream.read_line(&mut line)).await;
            let read = read.map_err(|source| Error::Io { server: server.clone(), source })?;
            if read == 0 {
                let source = std::io::ErrorKind::UnexpectedEof.into();
                return Err(Error::Io { server, source });
            }
            // A line with a dash after its code is followed by another.
            if line.as_bytes().get(3) != Some(&b'-') {
                break line.trim_end().to_owned();
            }
        };
        let code = said.get(..3).and_then(|code| code.parse::<u16>().ok());
        if code == Some(wanted) || (wanted == 250 && code == Some(251)) {
            return Ok(());
        }
        let said = said.chars().take(200).collect();
        Err(Error::Refused { server, command: command.to_owned(), said })
    }
}
