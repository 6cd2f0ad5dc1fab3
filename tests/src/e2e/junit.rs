//! The JUnit report of a run: a test suite for each journey, a test case for each step.

use super::report::{Ended, Outcome, Report, Step, details};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

/// Renders a report in JUnit's XML format, which CI servers show.
///
/// # Errors
/// If it cannot be serialized.
pub fn xml(report: &Report) -> anyhow::Result<String> {
    let mut junit = quick_junit::Report::new("bursar-e2e");
    junit.set_time(report.took);
    for outcome in &report.outcomes {
        junit.add_test_suite(suite(report, outcome));
    }
    Ok(junit.to_string()?)
}

fn suite(report: &Report, outcome: &Outcome) -> TestSuite {
    let mut suite = TestSuite::new(outcome.journey.name());
    suite.set_time(outcome.took);
    suite.add_property(("url", report.url.as_str()));
    suite.add_property(("run", report.run.as_str()));
    suite.add_test_cases(outcome.steps.iter().map(|step| case(outcome.journey.name(), step)));
    suite
}

fn case(journey: &str, step: &Step) -> TestCase {
    let mut status = match &step.ended {
        Ended::Passed => TestCaseStatus::success(),
        Ended::Skipped(_) => TestCaseStatus::skipped(),
        Ended::Failed { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
    };
    match &step.ended {
        Ended::Passed => {}
        Ended::Skipped(reason) => {
            status.set_message(reason.as_str());
        }
        Ended::Failed { failure, exchanges } => {
            status.set_message(format!("expected {}, got {}", failure.expected, failure.got));
            status.set_description(details(failure, exchanges));
        }
    }
    let mut case = TestCase::new(step.name.as_str(), status);
    case.set_classname(format!("e2e.{journey}")).set_time(step.took);
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_steps_have_their_reason_and_failed_steps_their_requests() {
        let xml = xml(&super::super::report::tests::report()).expect("it can be written");
        insta::assert_snapshot!(xml, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="bursar-e2e" tests="3" skipped="1" failures="1" errors="0" time="2.000">
            <testsuite name="pro" tests="3" skipped="1" errors="0" failures="1" time="1.500">
                <properties>
                    <property name="url" value="http://127.0.0.1:8080"/>
                    <property name="run" value="0badcafe"/>
                </properties>
                <testcase name="signs up" classname="e2e.pro" time="0.020"/>
                <testcase name="looks" classname="e2e.pro" time="0.020">
                    <skipped message="needs --sandbox-url"/>
                </testcase>
                <testcase name="pays" classname="e2e.pro" time="0.020">
                    <failure message="expected POST /api/v1/usage: status 200, got status 402">    expected  POST /api/v1/usage: status 200
            got       status 402
            POST /api/v1/usage  -&gt;  402 (12 ms)
              sent  {&quot;units&quot;:1}
              received  {&quot;code&quot;:&quot;payment_declined&quot;}
        </failure>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }
}
