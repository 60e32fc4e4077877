//! The client against servers that refuse, fail and fall silent, under a clock that only moves when all wait.

use std::sync::Mutex;

use futures::future::BoxFuture;
use reqwest::header::{HeaderName, HeaderValue};

use super::*;
use crate::client::operation::{GET_PROJECT_RUNS, LIST_CELLS, RUN_PROJECT};
use crate::client::transport::WireFailure;

/// A server's behaviour, the words of the resulting error, and the minutes until it.
type Cause = (fn() -> Said, &'static str, std::ops::RangeInclusive<u64>);
type Behaviour = Box<dyn Fn(&ApiRequest, Duration) -> Said + Send + Sync>;

/// A server's reply at a time after its start.
enum Said {
    Page,
    Status(u16, &'static [(&'static str, &'static str)]),
    Nothing,
}

struct Server {
    began: Instant,
    behaviour: Behaviour,
    asked: Mutex<Vec<(&'static str, Duration)>>,
}

impl Transport for Server {
    fn exchange<'a>(&'a self, request: &'a ApiRequest) -> BoxFuture<'a, Result<WireAnswer, WireFailure>> {
        Box::pin(async move {
            let at = self.began.elapsed();
            self.asked.lock().unwrap().push((request.operation().id, at));
            let (status, said): (u16, &[_]) = match (self.behaviour)(request, at) {
                Said::Page => (200, &[]),
                Said::Status(status, headers) => (status, headers),
                Said::Nothing => {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    return Err(WireFailure::new(TransportKind::Timeout, "no answer in time"));
                }
            };
            let body = match status {
                200 => Bytes::from_static(br#"{"values": [], "runs": [], "pagination": {"after": null}}"#),
                _ => Bytes::from_static(br#"{"reason": "the simulated reason"}"#),
            };
            let header = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            Ok(WireAnswer { status, headers: said.iter().map(header).collect(), body })
        })
    }
}

fn serve(behaviour: impl Fn(&ApiRequest, Duration) -> Said + Send + Sync + 'static) -> (Client, Arc<Server>) {
    let server = Server { began: Instant::now(), behaviour: Box::new(behaviour), asked: Mutex::default() };
    let server = Arc::new(server);
    let mut config = ClientConfig::new(BaseUrl::default(), Token::new("token").unwrap());
    config.transport = Some(server.clone());
    (Client::new(config).unwrap(), server)
}

fn runs() -> ApiRequest {
    ApiRequest::new(&GET_PROJECT_RUNS, &["p"])
}

fn cells() -> ApiRequest {
    ApiRequest::new(&LIST_CELLS, &[]).query("projectId", "p")
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn pauses_that_the_server_announces_use_up_none_of_a_requests_chances() {
    // An hour's limit is used up: longer than all attempts of a request may take.
    let (client, server) = serve(|_, at| match at < MINUTE * 50 {
        true => Said::Status(429, &[("retry-after", "3000")]),
        false => Said::Page,
    });
    client.send(&runs()).await.unwrap();
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again_when_it_says_so() {
    let (client, server) = serve(|_, at| match at < MINUTE {
        true => Said::Status(503, &[("retry-after", "60")]),
        false => Said::Page,
    });
    client.send(&runs()).await.unwrap();
    assert_eq!(server.asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_patience_loses_nothing() {
    for outage in [|| Said::Status(502, &[]), || Said::Nothing] {
        let (client, _) = serve(move |_, at| match (5..15).contains(&(at.as_secs() / 60)) {
            true => outage(),
            false => Said::Page,
        });
        client.send(&runs()).await.unwrap();
        tokio::time::sleep(MINUTE * 5).await;
        client.send_through_outages(&runs()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_behind_the_last_attempt_loses_nothing() {
    // It ends at the probe, or at the answer to another request, after each of the attempts of one round.
    for other in [false, true] {
        for attempts in 8..12 {
            let failed = Mutex::new(0);
            let (client, _) = serve(move |request, _| {
                let mut failed = failed.lock().unwrap();
                match (request.operation().id, *failed) {
                    ("GetProjectRuns", 0) => (*failed = 1, Said::Page).1,
                    ("GetProjectRuns", n) if n <= attempts => (*failed += 1, Said::Status(502, &[])).1,
                    ("ListCells", n) if n <= attempts => Said::Status(502, &[]),
                    // The probe fails with everything else.
                    ("ListProjects", n) if n <= attempts => Said::Nothing,
                    _ => Said::Page,
                }
            });
            client.send(&runs()).await.unwrap();
            let beside = async {
                if other {
                    client.send_through_outages(&cells()).await.unwrap();
                }
            };
            let request = runs();
            let (asked, ()) = tokio::join!(client.send_through_outages(&request), beside);
            asked.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fifteen_minutes_without_an_answer_are_the_end_whatever_the_cause() {
    let causes: [Cause; 4] = [
        (|| Said::Status(500, &[]), "500", 15..=17),
        (|| Said::Nothing, "timed out", 15..=17),
        (|| Said::Status(429, &[]), "429", 15..=17),
        // What a server announces is believed for 65 minutes, not for ever.
        (|| Said::Status(429, &[("retry-after", "3600")]), "429", 80..=185),
    ];
    for (cause, named, minutes) in causes {
        let (client, _) = serve(move |_, at| if at < MINUTE { Said::Page } else { cause() });
        client.send(&runs()).await.unwrap();
        tokio::time::sleep(MINUTE * 2).await;
        let (client, start) = (&client, Instant::now());
        let all = (0..8).map(|_| async move {
            loop {
                // A crawl has more to ask for.
                match client.send_through_outages(&runs()).await {
                    Err(error @ Error::Silent { .. }) => return error.to_string(),
                    _ => tokio::task::yield_now().await,
                }
            }
        });
        let (error, ..) = futures::future::select_all(all.map(Box::pin)).await;
        let took = start.elapsed().as_secs() / 60;
        assert!(minutes.contains(&took), "{named}: {took} minutes");
        assert!(error.contains(named), "the last real failure is named: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_succeeds_is_given_up_while_the_api_answers() {
    let (client, server) = serve(|request, _| match request.operation().id {
        "ListCells" => Said::Status(500, &[]),
        _ => Said::Page,
    });
    client.send(&runs()).await.unwrap();
    // Nothing else is asked for, as in a resume that has only such requests left.
    for _ in 0..3 {
        let error = client.send_through_outages(&cells()).await.unwrap_err();
        assert_eq!(error.status(), Some(500));
    }
    assert!(server.began.elapsed() < MINUTE * 15);
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_is_not_a_dead_api() {
    let (client, _) = serve(|_, _| Said::Page);
    client.send(&runs()).await.unwrap();
    tokio::time::sleep(MINUTE * 600).await;
    client.send(&runs()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_is_never_sent_twice() {
    for said in [|| Said::Status(500, &[]), || Said::Status(429, &[("retry-after", "1")]), || Said::Nothing] {
        let (client, server) = serve(move |_, _| said());
        client.send(&ApiRequest::new(&RUN_PROJECT, &["p"])).await.unwrap_err();
        assert_eq!(server.asked.lock().unwrap().len(), 1);
    }
}
