use super::*;
use crate::client::operation::{
    GET_PROJECT_RUNS, GET_QUERIED_TABLES, LIST_CELLS, LIST_DATA_CONNECTIONS, LIST_USERS,
};
use crate::client::{Policy, limits};
use crate::sim::{Counting, LimitForm, LimitKind, Limits, RateLimit, SimCounters};

const KINDS: [LimitKind; 3] = [LimitKind::FixedWindow, LimitKind::SlidingWindow, LimitKind::TokenBucket];
const MINUTE: Duration = Duration::from_secs(60);

/// A pace of one group alone.
fn of_default(minute: f64, burst: u32) -> Pace {
    let figures = Figures { minute: Some(minute), hour: None };
    Pace { total: None, burst, groups: BTreeMap::from([(limits::DEFAULT.name, figures)]) }
}

fn announcing(limits: &[(f64, u64)]) -> LimitHeaders {
    let policy = |(requests, seconds): &(f64, u64)| Policy {
        name: None,
        requests: *requests,
        window: Duration::from_secs(*seconds),
    };
    LimitHeaders { policies: limits.iter().map(policy).collect(), ..LimitHeaders::default() }
}

fn silent() -> LimitHeaders {
    LimitHeaders::default()
}

async fn send(pacer: &Pacer, operation: &'static Operation, times: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        pacer.turn(operation).await;
        pacer.accepted(operation, &silent(), Instant::now());
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn requests_leave_evenly_spaced() {
    let pacer = Pacer::new(&of_default(60.0, 1));
    let elapsed = send(&pacer, &GET_PROJECT_RUNS, 11).await.as_secs_f64();
    assert!((10.0..10.2).contains(&elapsed), "{elapsed}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_leaves_together_and_is_paid_back() {
    let pacer = Pacer::new(&of_default(60.0, 5));
    for _ in 0..2 {
        assert!(send(&pacer, &GET_PROJECT_RUNS, 5).await < Duration::from_millis(10));
        assert!(send(&pacer, &GET_PROJECT_RUNS, 1).await > Duration::from_millis(900));
        tokio::time::sleep(MINUTE).await;
    }
    let pacer = Pacer::new(&of_default(30.0, 20));
    assert!(send(&pacer, &GET_PROJECT_RUNS, 31).await >= MINUTE, "a burst never breaks the limit");
}

#[tokio::test(start_paused = true)]
async fn groups_leave_side_by_side_and_each_keeps_its_own_limit() {
    let pacer = Pacer::new(&Pace::hex());
    let (cells, runs) = tokio::join!(send(&pacer, &LIST_CELLS, 60), send(&pacer, &GET_PROJECT_RUNS, 120));
    for took in [cells, runs] {
        assert!((117.0..122.0).contains(&took.as_secs_f64()), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_kept_where_the_minute_would_allow_more() {
    let figures = Figures { minute: Some(20.0), hour: Some(60.0) };
    let pace = Pace { groups: BTreeMap::from([(limits::DEFAULT.name, figures)]), ..Pace::unlimited() };
    let pacer = Pacer::new(&pace);
    assert!(send(&pacer, &GET_PROJECT_RUNS, 60).await < Duration::from_secs(185), "the minute's pace");
    assert!(pacer.ready_in(pacer.group_of(&GET_PROJECT_RUNS)) > Duration::from_secs(3400));
    let rest = send(&pacer, &GET_PROJECT_RUNS, 1).await;
    assert!((3400..3660).contains(&rest.as_secs()), "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cap_holds_over_all_groups() {
    let pacer = Pacer::new(&Pace { total: Some(30.0), ..Pace::hex() });
    let (cells, runs) = tokio::join!(send(&pacer, &LIST_CELLS, 30), send(&pacer, &GET_PROJECT_RUNS, 30));
    assert!((115..125).contains(&cells.max(runs).as_secs()), "{cells:?} {runs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_holds_every_waiting_request_of_its_group_and_no_other() {
    let pacer = Arc::new(Pacer::new(&Pace::hex()));
    send(&pacer, &GET_PROJECT_RUNS, 1).await;
    let sent = Instant::now();
    let other = tokio::spawn({
        let pacer = pacer.clone();
        async move {
            pacer.turn(&GET_QUERIED_TABLES).await;
            Instant::now()
        }
    });
    tokio::task::yield_now().await;
    pacer.refused(&GET_PROJECT_RUNS, &silent(), Some(Duration::from_secs(7)), sent);
    assert!(send(&pacer, &LIST_CELLS, 2).await < Duration::from_secs(3), "another group goes on");
    assert!(other.await.unwrap() - sent >= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn an_announced_limit_teaches_its_own_group_and_is_reported() {
    let pacer = Pacer::new(&Pace::hex());
    pacer.turn(&LIST_CELLS).await;
    pacer.accepted(&LIST_CELLS, &announcing(&[(10.0, 60), (1800.0, 3600)]), Instant::now());
    let rate = |operation| pacer.per_minute(operation).unwrap().round();
    assert_eq!((rate(&LIST_CELLS), rate(&LIST_USERS), rate(&GET_PROJECT_RUNS)), (10.0, 10.0, 60.0));
    let changes = pacer.changes();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].group == "hex-api" && changes[0].cause.contains("announces"), "{changes:?}");
    // A generous one never lifts our own figures.
    pacer.accepted(&GET_PROJECT_RUNS, &announcing(&[(600.0, 60)]), Instant::now());
    assert_eq!(rate(&GET_PROJECT_RUNS), 60.0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_an_hour_is_no_limit_of_one_request_in_minutes() {
    let pacer = Pacer::new(&Pace::hex());
    pacer.accepted(&LIST_CELLS, &announcing(&[(30.0, 60), (1800.0, 3600)]), Instant::now());
    assert_eq!(pacer.per_minute(&LIST_CELLS).unwrap().round(), 30.0);
    assert!(pacer.changes().is_empty(), "nothing that was not known");
}

#[tokio::test(start_paused = true)]
async fn an_operation_moves_to_the_group_whose_limit_or_name_its_answers_carry() {
    let pacer = Pacer::new(&Pace::hex());
    let of_default = announcing(&[(60.0, 60)]);
    pacer.accepted(&GET_PROJECT_RUNS, &of_default, Instant::now());
    // Hex moved it: a later scrape of the description has it in hex-api.
    pacer.accepted(&LIST_DATA_CONNECTIONS, &announcing(&[(30.0, 60), (1800.0, 3600)]), Instant::now());
    assert_eq!(pacer.group_of(&LIST_DATA_CONNECTIONS), pacer.group_of(&LIST_CELLS));
    assert_eq!(pacer.per_minute(&GET_PROJECT_RUNS).unwrap().round(), 60.0, "the others keep their pace");
    let mut named = announcing(&[(60.0, 60)]);
    named.policies[0].name = Some("hex-api".into());
    let pacer = Pacer::new(&Pace::hex());
    pacer.accepted(&GET_QUERIED_TABLES, &named, Instant::now());
    assert_eq!(pacer.group_of(&GET_QUERIED_TABLES), pacer.group_of(&LIST_CELLS));
    assert!(pacer.changes()[0].cause.contains("GetQueriedTables"));
}

/// Result of sending requests to a server that counts them, each answered after 80 ms.
struct Driven {
    seconds: f64,
    refused: u64,
    changes: Vec<PaceChange>,
}

async fn drive(pace: &Pace, limits: Limits, work: &[(&'static Operation, u64)]) -> Driven {
    let server = SimCounters::new(limits);
    let pacer = Pacer::new(pace);
    let (start, refused) = (Instant::now(), std::sync::atomic::AtomicU64::new(0));
    let group = async |operation: &'static Operation, total: u64| {
        let mut accepted = 0;
        while accepted < total {
            pacer.turn(operation).await;
            let sent = Instant::now();
            let (allowed, headers) = server.take(operation.group);
            tokio::time::sleep(Duration::from_millis(80)).await;
            let said = LimitHeaders::read(&headers);
            match allowed {
                true => {
                    accepted += 1;
                    pacer.accepted(operation, &said, sent);
                }
                false => {
                    refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    pacer.refused(operation, &said, crate::client::http::retry_after(&headers), sent);
                }
            }
        }
    };
    futures::future::join_all(work.iter().map(|(operation, total)| group(operation, *total))).await;
    Driven { seconds: start.elapsed().as_secs_f64(), refused: refused.into_inner(), changes: pacer.changes() }
}

fn sixty(kind: LimitKind, headers: LimitForm) -> Limits {
    let limit = RateLimit { kind, requests: 60, window: MINUTE };
    Limits { headers, ..limit.into() }
}

const FORMS: [LimitForm; 3] = [LimitForm::Fields, LimitForm::Named, LimitForm::Silent];

#[tokio::test(start_paused = true)]
async fn a_pace_at_the_limit_is_never_refused_and_loses_two_percent_at_most() {
    for kind in KINDS {
        for form in FORMS {
            let done = drive(&of_default(60.0, 1), sixty(kind, form), &[(&GET_PROJECT_RUNS, 1200)]).await;
            let fine = done.seconds <= 1.02 * 1200.0 && done.refused == 0;
            assert!(fine, "{kind:?} {form:?}: {} s, {} refused", done.seconds, done.refused);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pace_three_times_too_high_converges_and_loses_less_than_five_percent() {
    for kind in KINDS {
        for form in FORMS {
            let done = drive(&of_default(180.0, 1), sixty(kind, form), &[(&GET_PROJECT_RUNS, 1200)]).await;
            let fine = done.seconds <= 1.05 * 1200.0 && done.refused <= 1200 / 50;
            assert!(fine, "{kind:?} {form:?}: {} s, {} refused", done.seconds, done.refused);
        }
    }
}

/// Requests of a first crawl of 1,000 projects, about.
const CRAWL: [(&Operation, u64); 2] = [(&LIST_CELLS, 1000), (&GET_PROJECT_RUNS, 1300)];

#[tokio::test(start_paused = true)]
async fn two_groups_at_hexs_limits_take_as_long_as_the_slower_and_are_never_refused() {
    for kind in KINDS {
        for form in FORMS {
            let done = drive(&Pace::hex(), Limits { kind, headers: form, ..Limits::hex() }, &CRAWL).await;
            let fine = done.seconds <= 1.02 * 2000.0 && done.refused == 0;
            assert!(fine, "{kind:?} {form:?}: {} s, {} refused", done.seconds, done.refused);
            assert!(done.changes.is_empty(), "{:?}", done.changes);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn groups_that_are_counted_together_are_merged_and_it_is_said() {
    for kind in KINDS {
        for form in FORMS {
            let done = drive(&Pace::hex(), sixty(kind, form), &CRAWL).await;
            // Of a window that isn't Hex's, and that no header tells of, every refusal may mean anything.
            let guess = kind != LimitKind::FixedWindow && form == LimitForm::Silent;
            let (share, refusals) = if guess { (1.2, 100) } else { (1.05, 40) };
            let fine = done.seconds <= share * 2300.0 && done.refused <= refusals;
            assert!(fine, "{kind:?} {form:?}: {} s, {} refused", done.seconds, done.refused);
            if guess {
                continue;
            }
            // Where limits have names, the server itself says that all operations are in one group.
            let said = if form == LimitForm::Named {
                "the server counts ListCells in that group"
            } else {
                "together"
            };
            let times = done.changes.iter().filter(|change| change.cause.contains(said)).count();
            assert_eq!(times, 1, "{kind:?} {form:?}: {:?}", done.changes);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_limit_is_lower_than_documented_is_not_merged() {
    for form in FORMS {
        let counting = Counting::GroupsOf(vec![(20, MINUTE)]);
        let limits = Limits { kind: LimitKind::FixedWindow, counting, headers: form };
        let work = [(&LIST_CELLS as &Operation, 300), (&LIST_USERS, 10)];
        let done = drive(&Pace::hex(), limits, &work).await;
        assert!(done.seconds <= 1.1 * 310.0 * 3.0, "{form:?}: {} s", done.seconds);
        assert!(!done.changes.iter().any(|change| change.cause.contains("together")), "{:?}", done.changes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_others_used_up_is_not_taken_for_a_lower_one() {
    let pacer = Pacer::new(&of_default(60.0, 1));
    pacer.turn(&GET_PROJECT_RUNS).await;
    pacer.refused(&GET_PROJECT_RUNS, &silent(), Some(Duration::from_secs(50)), Instant::now());
    let took = send(&pacer, &GET_PROJECT_RUNS, 60).await;
    assert!(took < Duration::from_secs(50 + 65), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn refusals_at_random_neither_stop_a_crawl_nor_merge_its_groups() {
    let pacer = Pacer::new(&Pace::hex());
    let start = Instant::now();
    let group = async |operation: &'static Operation, total: u32, every: u32| {
        for n in 1..=total {
            pacer.turn(operation).await;
            let sent = Instant::now();
            match n % every {
                0 => drop(pacer.refused(operation, &silent(), Some(Duration::from_secs(1)), sent)),
                _ => pacer.accepted(operation, &silent(), sent),
            }
        }
    };
    tokio::join!(group(&GET_PROJECT_RUNS, 1000, 20), group(&LIST_CELLS, 500, 19));
    assert!(start.elapsed() < Duration::from_secs(1350), "{:?}", start.elapsed());
    assert!(!pacer.changes().iter().any(|change| change.cause.contains("together")));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_is_answered_with_longer_and_longer_waits() {
    for asked in [None, Some(Duration::ZERO), Some(Duration::from_secs(1))] {
        let pacer = Pacer::new(&of_default(60.0, 1));
        let start = Instant::now();
        for _ in 0..30 {
            pacer.turn(&GET_PROJECT_RUNS).await;
            pacer.refused(&GET_PROJECT_RUNS, &silent(), asked, Instant::now());
        }
        let took = start.elapsed();
        assert!((120..3600).contains(&took.as_secs()), "{asked:?}: {took:?}");
    }
}
