//! The library's enumerations as values of flags.

use clap::ValueEnum;
use clap::builder::PossibleValue;

macro_rules! values {
    ($($(#[$condition:meta])? $type:path { $($variant:ident = $name:literal: $help:literal,)+ })+) => {$(
        $(#[$condition])?
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                use $type as Value;
                &[$(Value::$variant),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                use $type as Value;
                Some(match self {
                    $(Value::$variant => PossibleValue::new($name).help($help),)+
                })
            }
        }
    )+};
}

values! {
    crate::snapshot::DeltaMode {
        History = "history": "The rows of every snapshot, partitioned by the snapshot's day",
        Current = "current": "The rows of the last snapshot; those of earlier ones are earlier versions",
    }
    crate::history::Kind {
        Snowflake = "snowflake": "Snowflake: QUERY_HISTORY, with QUERY_ATTRIBUTION_HISTORY and ACCESS_HISTORY",
        BigQuery = "bigquery": "BigQuery: INFORMATION_SCHEMA.JOBS",
        Databricks = "databricks": "Databricks: system.query.history",
        Redshift = "redshift": "Redshift: SYS_QUERY_HISTORY",
        Athena = "athena": "Athena: query executions, as the AWS CLI lists them",
        ClickHouse = "clickhouse": "ClickHouse: system.query_log",
        Postgres = "postgres": "PostgreSQL: csvlog, with log_duration or auto_explain",
        Trino = "trino": "Trino: the tables of its MySQL event listener",
    }
    crate::notify::To {
        Slack = "slack": "A Slack incoming webhook, in HEXPORT_SLACK_URL",
        Teams = "teams": "A Microsoft Teams workflow's webhook, in HEXPORT_TEAMS_URL",
        Webhook = "webhook": "Any HTTP endpoint, which is sent a JSON object, in HEXPORT_WEBHOOK_URL",
        Email = "email": "Email, by [notify.email] in hexport.toml",
    }
    crate::audit::Severity {
        Info = "info": "Tidiness",
        Low = "low": "Worth a look when there is time",
        Medium = "medium": "Should be dealt with",
        High = "high": "Should be dealt with now",
    }
    #[cfg(feature = "sim")]
    crate::sim::Plan {
        Community = "community": "Free",
        Professional = "professional": "Paid, single people",
        Team = "team": "Paid, teams",
        Enterprise = "enterprise": "Paid, with everything",
    }
    #[cfg(feature = "sim")]
    crate::sim::LimitKind {
        FixedWindow = "fixed-window": "So many in a window, which begins with the first request after the last one ended. Hex's way",
        SlidingWindow = "sliding-window": "So many in any stretch of time as long as the window",
        TokenBucket = "token-bucket": "A bucket of so many tokens that fills at an even rate",
    }
    #[cfg(feature = "sim")]
    crate::sim::LimitForm {
        Fields = "fields": "X-RateLimit-* and the older draft's RateLimit-*",
        Named = "named": "The newer draft's RateLimit and RateLimit-Policy, with the group's name",
        Silent = "silent": "None",
    }
    crate::cost::By {
        Project = "project": "Project",
        Owner = "owner": "Owner of the projects",
        Schedule = "schedule": "Project, of what its schedules ran alone, with the views of its app",
        Cell = "cell": "Cell",
        Table = "table": "Warehouse table; a query counts for each table that it reads or writes",
        User = "user": "User that the queries were sent for",
        Run = "run": "Run",
    }
    crate::handoff::openlineage::Kinds {
        All = "all": "Of datasets, jobs and runs",
        Runs = "runs": "Of runs alone, for receivers that take no others",
    }
    crate::handoff::openlineage::JobNames {
        Id = "id": "The project's identifier, which never changes",
        Title = "title": "The project's title with its identifier: people read it, and a project that gets another title is another job",
    }
    crate::handoff::dbt::Maturity {
        High = "high": "Production",
        Medium = "medium": "In review or development",
        Low = "low": "Exploratory, or deprecated",
    }
}
