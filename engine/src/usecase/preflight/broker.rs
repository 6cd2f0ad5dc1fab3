//! Preflight: the broker.

use super::{CONNECT_LIMIT, within_limit};
use crate::config::Config;
use crate::domain::preflight::Finding;
use crate::domain::preflight::broker::{REACHABLE, TOPOLOGY, VERSION, judge_topology, judge_version};
use crate::infra::broker::{SurveyError, server_version, survey};

/// Looks at the broker, if one is configured.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let url = config.amqp_url.trim().to_owned();
    if url.is_empty() {
        let why = "no broker is set (AMQP_URL): work goes through the process and the database";
        return [REACHABLE, VERSION, TOPOLOGY].map(|name| Finding::skipped(name, why)).to_vec();
    }
    let amqp = config.amqp.clone();
    let of_survey = {
        let url = url.clone();
        async move {
            match survey(&url, &amqp).await {
                Ok(found) => {
                    let reachable = Finding::ok(REACHABLE, "RabbitMQ answers, and accepts the login");
                    let topology = judge_topology(&found.parts, found.may_create, &amqp.prefix);
                    [vec![reachable], topology].concat()
                }
                Err(error) => {
                    let remedy = match error {
                        SurveyError::Refused(_) => "check user, password and virtual host in AMQP_URL",
                        SurveyError::Unreachable(_) => "check that RabbitMQ is running, and host and port in AMQP_URL",
                    };
                    vec![
                        Finding::fail(REACHABLE, error.to_string(), remedy),
                        Finding::skipped(TOPOLOGY, "the broker cannot be used"),
                    ]
                }
            }
        }
    };
    let of_version = async move {
        vec![match tokio::time::timeout(CONNECT_LIMIT, server_version(&url)).await {
            Ok(Ok(version)) => judge_version(version.as_deref()),
            Ok(Err(_)) | Err(_) => Finding::skipped(VERSION, "the broker cannot be reached"),
        }]
    };
    let (of_survey, of_version) =
        tokio::join!(within_limit(&[REACHABLE, TOPOLOGY], of_survey), within_limit(&[VERSION], of_version));
    [of_survey, of_version].concat()
}
