//! The tickets of docs/support.md, each solved by the commands that stand there.

use super::*;
use crate::cli::Program;

/// Maximum number of commands that solve a ticket.
const COMMANDS_MAX: usize = 3;

/// The commands of a ticket, with these words in place of the placeholders.
fn commands(ticket: &str, words: &[(&str, &str)]) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/support.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let (_, section) = text.split_once(&format!("\n### {ticket}\n")).expect("the ticket is there");
    let block = section.split("\n```sh\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("commands");
    let lines: Vec<&str> = block.lines().collect();
    assert!(lines.len() <= COMMANDS_MAX, "{ticket}: {lines:#?}");
    let filled = lines
        .into_iter()
        .map(|line| words.iter().fold(line.to_owned(), |line, (placeholder, word)| line.replace(placeholder, word)));
    filled.map(|line| split(&line)).collect()
}

/// The words of a command after the program's name; a part in quotes is one word.
fn split(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(at, part)| match at % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(str::to_owned).collect(),
    });
    let words: Vec<String> = words.collect();
    assert!(!words.iter().any(|word| word.contains('…')), "{line}");
    assert_eq!(words[0], "bursar");
    words[1..].to_vec()
}

async fn run(program: &Program, command: &[String]) -> String {
    program.well(&command.iter().map(String::as_str).collect::<Vec<_>>()).await
}

with_shop! {
    async fn a_balance_of_3_that_should_be_60_more_is_solved_by_three_commands(shop: &Shop) {
        shop.pro().await;
        let customer = shop.without_credits("pm_card_visa").await;
        shop.app.adjust(&customer, 3).await.expect(200);
        let product = shop.pro_price().await["product"].clone();
        let price = shop.other_price("49900", product.as_str()).await;
        let made = shop.subscribe_at_stripe(&shop.stripe_customer(&customer).await, &price, &[]).await;
        let invoice = shop.stripe.object(made["latest_invoice"].as_str().expect("an invoice"));
        let (event, _) = shop.dead_event("invoice.paid", &invoice).await;
        // Others wait for the same decision, in other streams, too.
        let (other, _) = shop.dead_event("customer.subscription.updated", &made).await;
        assert_eq!(shop.app.balance(&customer).await, 3);
        let words = [("cst_…", customer.id.as_str()), ("price_…", &price)];
        let program = Program::of(&shop.app.config, &shop.app.base);
        let commands = commands("My balance is 3 and should be 60", &words);
        let timeline = program.json(&["customers", "timeline", &customer.id]).await.to_string();
        assert!(timeline.contains("price_unknown") && timeline.contains(&price), "{timeline}");
        for command in &commands {
            run(&program, command).await;
        }
        for event in [&event, &other] {
            shop.app.event_in_state(stripe::id(event), "processed").await;
        }
        assert_eq!(shop.app.balance(&customer).await, 3 + PERIOD);
    }

    async fn a_charge_too_many_is_given_back_by_three_commands(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        for key in ["deploy-1", "deploy-1-again"] {
            shop.app.spend(&customer, 1, key).await.expect(200);
        }
        let program = Program::of(&shop.app.config, &shop.app.base);
        let listed = program.json(&["payments", "list", "--customer", &customer.id]).await;
        let of = |key: &str| listed["data"].as_array().expect("rows").iter().find(|row| row["idempotency_key"] == key);
        let again = of("deploy-1-again").expect("the second charge")["id"].as_str().expect("an id").to_owned();
        let mut said = String::new();
        for command in &commands("I was charged twice", &[("cst_…", &customer.id), ("op_…", &again)]) {
            said = run(&program, command).await;
        }
        assert!(said.contains("succeeded"), "{said}");
        assert_eq!(shop.net_paid(&customer).await, UNIT);
        // The unit that it spent twice stays spent, and it owes nothing.
        shop.announce_refund(stripe::id(&shop.stripe.list("charge").pop().expect("a charge"))).await;
        assert_eq!(shop.app.balance(&customer).await, 0);
    }

    async fn a_customer_without_a_key_gets_one_by_two_commands(shop: &Shop) {
        let customer = shop.app.onboard().await;
        let email = shop.customer(&customer).await["email"].as_str().expect("an address").to_owned();
        let program = Program::of(&shop.app.config, &shop.app.base);
        let commands = commands("I have no key", &[("ada@example.com", &email), ("cst_…", &customer.id)]);
        assert!(run(&program, &commands[0]).await.contains(&customer.id));
        let made = program.json(&commands[1].iter().map(String::as_str).collect::<Vec<_>>()).await;
        let api_key = made["key"].as_str().unwrap_or_else(|| panic!("no key: {made}")).to_owned();
        shop.customer(&TestCustomer { api_key, ..customer }).await;
    }

    async fn a_lost_webhook_is_taken_in_by_one_command(shop: &Shop) {
        let customer = shop.without_credits("pm_card_visa").await;
        let payer = shop.stripe_customer(&customer).await;
        let prices = shop.ask_stripe("GET", "/v1/prices?lookup_keys[]=pro_monthly", &[]).await;
        // The sandbox delivers no events.
        let form = [("customer", payer.as_str()), ("items[0][price]", stripe::id(&prices["data"][0]))];
        shop.ask_stripe("POST", "/v1/subscriptions", &form).await;
        let program = Program::of(&shop.app.config, &shop.app.base);
        for command in &commands("I paid and nothing happened", &[("cst_…", &customer.id)]) {
            run(&program, command).await;
        }
        wait::until("the month is there", || async {
            (shop.app.balance(&customer).await == PERIOD).then_some(())
        })
        .await;
    }
}
