//! `hexport init`: from an address and a token to a settings file, a schedule and a plan.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use chrono::NaiveTime;

use super::exit::{Code, Failure};
use super::progress::Reporter;
use super::settings::{ApiArgs, FILE, Settings, StoreArgs};
use super::{Output, Ui, check, plan};
use crate::client::{BaseUrl, DEFAULT_BASE_URL};
use crate::export::Options;

/// Arguments of `hexport init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data lake that snapshots will go to: a folder, or a URL such as s3://bucket/prefix; asked for if it isn't
    /// given
    #[arg(value_name = "DEST")]
    dest: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Settings file to write
    #[arg(long, value_name = "FILE", default_value = FILE)]
    file: PathBuf,
    /// Replace the settings file if it exists
    #[arg(long)]
    force: bool,
    /// Kind of schedule to print [default: systemd where it runs, else cron]
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// Time of day of the nightly export
    #[arg(long, value_name = "HH:MM", default_value = "02:00", value_parser = time_of_day)]
    at: NaiveTime,
    #[command(flatten)]
    api: ApiArgs,
}

/// Schedulers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Schedule {
    /// A service and a timer of systemd
    Systemd,
    /// A line of a crontab
    Cron,
}

fn time_of_day(text: &str) -> Result<NaiveTime, String> {
    NaiveTime::parse_from_str(text, "%H:%M")
        .map_err(|_| format!("'{text}' is not a time of day such as 02:00"))
}

/// Asks for what no flag gives, checks it, and writes it down.
///
/// # Errors
/// If something isn't given and nobody can be asked, the token or the URL doesn't work, or the file can't be
/// written.
pub async fn run(args: Args, settings: &Settings, ui: &Ui) -> Result<Code, Failure> {
    if args.file.exists() && !args.force {
        return Err(Failure::new(Code::Usage, format!("{} exists already", args.file.display()))
            .next("Edit it, replace it with --force, or name another with --file."));
    }
    let terminal = Terminal::of_process();
    let url = match args.api.url() {
        Some(url) => url.to_owned(),
        None => {
            let default = DEFAULT_BASE_URL.trim_end_matches("/api/v1");
            terminal.ask("Address of your Hex workspace", Some(default), "--url")?
        }
    };
    let url = BaseUrl::new(&url)?;
    let token_file = match args.api.token_file() {
        Some(path) => Some(path.to_owned()),
        None if std::env::var_os("HEX_API_TOKEN").is_some_and(|token| !token.is_empty()) => None,
        None => Some(terminal.ask("File that holds the API token", None, "--token-file")?.into()),
    };
    let dest = match &args.dest {
        Some(dest) => dest.clone(),
        None => terminal
            .ask("Where snapshots go: a folder, or a URL such as s3://bucket/prefix", None, "DEST")?
            .into(),
    };
    let token_file = token_file.map(|path| whole(&path)).transpose()?;
    let dest = if dest.to_string_lossy().contains("://") { dest } else { whole(&dest)? };
    let api = args.api.at(url.as_str(), token_file.as_deref());
    let lake = args.store.open(&dest)?;

    let reporter = Arc::new(Reporter::new(ui));
    let connection = api.connect_briefly(settings, reporter.clone())?;
    check::show(&connection.client, Output::Table).await?;

    let text = file_text(url.as_str(), token_file.as_deref());
    std::fs::write(&args.file, text).map_err(|e| {
        Failure::new(Code::Usage, format!("{} can't be written: {e}", args.file.display()))
            .next("Name a place that you may write to with --file.")
    })?;
    println!("\nwrote {}", args.file.display());
    println!("\n{}", schedule(&args, &dest, token_file.as_deref())?);
    println!("An export to {}:\n", dest.display());
    plan::show(&connection, &lake, Options::default(), &reporter, Output::Table).await?;
    let config = whole(&args.file)?;
    println!("\nNow run it: hexport --config {} export {}", quoted(&config), quoted(&dest));
    Ok(Code::Complete)
}

/// The person at the keyboard, if there is one.
struct Terminal {
    is_there: bool,
}

impl Terminal {
    fn of_process() -> Self {
        Self { is_there: std::io::stdin().is_terminal() && std::io::stderr().is_terminal() }
    }

    /// Asks until there is an answer; an empty one means `default`.
    fn ask(&self, what: &str, default: Option<&str>, flag: &str) -> Result<String, Failure> {
        if !self.is_there {
            // The default is for people who see it.
            return Err(Failure::new(
                Code::Usage,
                format!("{flag} is missing, and there is no terminal to ask at"),
            )
            .next("Give DEST, --url and --token-file (or set HEX_API_URL and HEX_API_TOKEN)."));
        }
        let default_shown = default.map_or(String::new(), |text| format!(" [{text}]"));
        loop {
            let mut err = std::io::stderr().lock();
            let _ = write!(err, "{what}{default_shown}: ").and_then(|()| err.flush());
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            match (read, line.trim(), default) {
                (Ok(0) | Err(_), ..) => {
                    return Err(Failure::new(Code::Usage, format!("no answer for {flag}")));
                }
                (Ok(_), "", Some(default)) => return Ok(default.to_owned()),
                (Ok(_), "", None) => {}
                (Ok(_), answer, _) => return Ok(answer.to_owned()),
            }
        }
    }
}

/// The path from the root, since a schedule runs in another folder.
fn whole(path: &Path) -> Result<PathBuf, Failure> {
    absolute(path).map_err(|e| Failure::new(Code::Usage, format!("the path {}: {e}", path.display())))
}

/// The settings file, with the settings that are often wanted as comments.
fn file_text(url: &str, token_file: Option<&Path>) -> String {
    let text = |value: &str| toml::Value::from(value).to_string();
    let url = url.trim_end_matches('/').trim_end_matches("/api/v1");
    let token = match token_file {
        Some(path) => format!("token_file = {}", text(&path.to_string_lossy())),
        None => "# token_file = \"/etc/hexport/token\"  # else HEX_API_TOKEN holds the token".to_owned(),
    };
    format!(
        "# Settings of hexport. A flag comes first, then the environment, then this file, then the default.\n\
         url = {}\n{token}\n\n\
         [export]\n\
         # tables = [\"projects\", \"runs\"]      # default: all\n\
         # format = [\"parquet\", \"delta\"]      # default: parquet\n\
         # budget = \"2h\"                       # stop after this time, and go on the next night\n\
         # freshness = \"7d\"                    # default: exact\n\
         # keep_journal = true                 # so that hexport rebuild works\n\
         # ok_incomplete = true                # exit with 0 although there are gaps\n\
         # metrics_file = \"/var/lib/node_exporter/hexport.prom\"\n\n\
         # [audit]\n\
         # sensitive = [\"hr\", \"pii\"]\n",
        text(url)
    )
}

/// Quoted for a shell, where that is needed.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Scheduler of the nightly export.
fn schedule(args: &Args, dest: &Path, token_file: Option<&Path>) -> Result<String, Failure> {
    let has_systemd = Path::new("/run/systemd/system").exists();
    let kind = args.schedule.unwrap_or(if has_systemd { Schedule::Systemd } else { Schedule::Cron });
    let program = std::env::current_exe().unwrap_or_else(|_| "hexport".into());
    let config = whole(&args.file)?;
    let command = format!(
        "{} --config {} --log-format json export {}",
        quoted(&program),
        quoted(&config),
        quoted(dest)
    );
    let no_token = match (token_file, kind) {
        (Some(_), _) => "",
        (None, Schedule::Systemd) => {
            "# Set token_file in the settings file: HEX_API_TOKEN isn't set in a service.\n"
        }
        (None, Schedule::Cron) => "# Set token_file in the settings file: HEX_API_TOKEN isn't set in cron.\n",
    };
    let at = args.at.format("%H:%M");
    Ok(match kind {
        Schedule::Cron => {
            // In a crontab a percent sign ends the command.
            let command = command.replace('%', r"\%");
            format!("A line for crontab -e:\n\n{no_token}{} * * * {command}\n", args.at.format("%-M %-H"))
        }
        Schedule::Systemd => format!(
            "Two files for /etc/systemd/system, then systemctl enable --now hexport.timer:\n\n\
             {no_token}# hexport.service\n[Service]\nType=oneshot\nExecStart={}\n\
             # 4: committed, with gaps that the next night fills.\nSuccessExitStatus=4\n\n\
             # hexport.timer\n[Timer]\nOnCalendar={at}\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n",
            command.replace('%', "%%")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell_where_that_is_needed() {
        assert_eq!(quoted(Path::new("/data/lake/hex")), "/data/lake/hex");
        assert_eq!(quoted(Path::new("/data/my lake")), "'/data/my lake'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }

    #[test]
    fn the_settings_file_says_what_was_given_and_can_be_read() {
        for token in [None, Some(Path::new("/a \"b\"/token"))] {
            let text = file_text("https://app.hex.tech/api/v1", token);
            let file: toml::Table = toml::from_str(&text).unwrap();
            assert_eq!(file["url"].as_str(), Some("https://app.hex.tech"));
            assert_eq!(file.get("token_file").and_then(|v| v.as_str()), token.and_then(Path::to_str));
            // What stands there as a comment is a setting.
            let commented = text.replace("# tables", "tables").replace("# format", "format");
            let commented = commented.replace("# budget", "budget").replace("# freshness", "freshness");
            let commented =
                commented.replace("# keep", "keep").replace("# ok", "ok").replace("# metrics", "metrics");
            let commented = commented.replace("# [audit]", "[audit]").replace("# sensitive", "sensitive");
            let commented = commented.replace("# token_file", "token_file");
            assert!(commented.contains("\nmetrics_file"), "{commented}");
            toml::from_str::<crate::cli::settings::File>(&commented).unwrap();
        }
    }
}
