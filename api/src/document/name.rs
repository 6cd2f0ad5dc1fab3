//! Names of schemas as readers of the document and of generated clients know them.
//!
//! In the code an answer's type ends in `Body`, where the engine has a type of the same name.

/// Names that say more than the type's name without `Body`.
const NAMES: &[(&str, &str)] = &[
    ("AddressBody", "EmailAddress"),
    ("AdjustedBody", "Adjustment"),
    ("AttachedBody", "AddedPaymentMethod"),
    ("AuditBody", "AuditEntry"),
    ("BurnedBody", "BurnedCredits"),
    ("ChargedBody", "ChargedAmount"),
    ("CreditsChoiceBody", "RefundCredits"),
    ("DayBody", "DayUsage"),
    ("Dependency", "HealthDependency"),
    ("EventReplayed", "EventReplay"),
    ("FilterBody", "ReplayFilter"),
    ("FindingBody", "ReconciliationFinding"),
    ("FindingPage", "ReconciliationFindingPage"),
    ("FlowBody", "CreditFlow"),
    ("OnboardBody", "OnboardedCustomer"),
    ("OperationRow", "AdminOperation"),
    ("OperationStateParameter", "OperationState"),
    ("OtherCurrencyBody", "OtherCurrencySpend"),
    ("OutcomesBody", "ReplayOutcomes"),
    ("PaymentStateParameter", "PaymentStateFilter"),
    ("PeriodBody", "UsagePeriod"),
    ("PreviewBody", "SubscriptionChangePreview"),
    ("ReceivedBody", "WebhookReceipt"),
    ("RefundAnswer", "Refund"),
    ("RefundRequestBody", "RefundRequest"),
    ("SourceBody", "CustomerSource"),
    ("Timeline", "TimelinePage"),
    ("TopUpBody", "AutoTopUp"),
    ("TopUpProblem", "AutoTopUpProblem"),
    ("TopUpRequest", "AutoTopUpRequest"),
    ("TotalsBody", "CreditTotals"),
    ("VersionBody", "CatalogueVersion"),
    ("VersionDetail", "CatalogueVersionDetail"),
    ("VersionPage", "CatalogueVersionPage"),
    ("WarningBody", "CustomerWarning"),
    ("When", "SubscriptionChangeTime"),
];

/// The name in the document of a type of the API.
pub(crate) fn reader_name(name: &str) -> String {
    let named = NAMES.iter().find(|(of, _)| *of == name).map(|(_, readers)| *readers);
    named.or_else(|| name.strip_suffix("Body")).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_the_schema_is() {
        let names = ["OnboardBody", "HoldBody", "HoldRequest", "Transaction", "When"].map(reader_name);
        assert_eq!(names, ["OnboardedCustomer", "Hold", "HoldRequest", "Transaction", "SubscriptionChangeTime"]);
    }

    #[test]
    fn every_name_is_given_once() {
        let mut names: Vec<_> = NAMES.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NAMES.len());
    }
}
