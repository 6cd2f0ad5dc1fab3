//! Products and prices, including one that always exists.

use crate::account::StripeAccount;
use crate::error::ApiError;
use crate::field::Fields;
use crate::form::Form;
use crate::handler::Call;
use crate::page;
use serde_json::{Map, Value, json};

/// The lookup key of the price that always exists.
const PRO_LOOKUP_KEY: &str = "pro_monthly";
/// The name of its product.
const PRO_NAME: &str = "Pro (SANDBOX)";
/// The price of a month, in minor units.
const PRO_UNIT_AMOUNT: i64 = 59_900;

/// Creates the price of Pro, unless one has its lookup key.
pub(crate) fn seed(account: &mut StripeAccount) -> Result<(), ApiError> {
    if account.store.of_kind("price").any(|price| price.text("lookup_key") == PRO_LOOKUP_KEY) {
        return Ok(());
    }
    let fields = json!({ "name": PRO_NAME, "updated": account.now_s, "statement_descriptor": "SANDBOX PRO" });
    let product = account.make("prod", "product", fields)?;
    let fields = json!({
        "currency": "usd", "lookup_key": PRO_LOOKUP_KEY, "metadata": { "plan": "pro" }, "nickname": PRO_NAME,
        "product": product.id(), "recurring": recurring("month", 1), "type": "recurring",
        "unit_amount": PRO_UNIT_AMOUNT,
        "unit_amount_decimal": PRO_UNIT_AMOUNT.to_string(),
    });
    account.make("price", "price", fields)?;
    Ok(())
}

/// `POST /v1/products`
pub(crate) fn create_product(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let name = form.required("name")?;
    let fields = json!({
        "name": name, "description": form.nullable("description"), "metadata": form.metadata(&json!({}))?,
        "active": form.flag("active")?.unwrap_or(true), "updated": account.now_s,
        "statement_descriptor": form.nullable("statement_descriptor"),
    });
    let product = match form.text("id") {
        Some(id) if account.get(id).is_some() => {
            return Err(ApiError::refused("resource_already_exists", "Product already exists."));
        }
        Some(id) => account.make_as(id, "product", fields)?,
        None => account.make("prod", "product", fields)?,
    };
    account.emit("product.created", product.id())?;
    Ok(product)
}

/// `GET /v1/products/{id}`
pub(crate) fn retrieve_product(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("product", call.id())
}

/// `GET /v1/products`
pub(crate) fn list_products(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    page::list(account, call, "product", &["active"])
}

/// `POST /v1/products/{id}`
pub(crate) fn update_product(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let product = account.find("product", call.id())?;
    let mut fields = changed_fields(&product, &call.form, &["name", "description", "statement_descriptor"])?;
    fields.insert("updated".to_owned(), account.now_s.into());
    account.change_and_emit(product.id(), Value::Object(fields), "product.updated")
}

/// `DELETE /v1/products/{id}`
pub(crate) fn delete_product(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let product = account.find("product", call.id())?;
    if account.store.of_kind("price").any(|price| price.text("product") == product.id()) {
        let message = "This product cannot be deleted because it has one or more user-created prices.";
        return Err(ApiError::refused_without_code(message));
    }
    account.emit("product.deleted", product.id())?;
    let gone = json!({ "id": product.id(), "object": "product", "deleted": true });
    account.store.put(product.id(), gone.clone());
    Ok(gone)
}

/// `POST /v1/prices`
pub(crate) fn create(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let price = make(account, &call.form)?;
    account.emit("price.created", price.id())?;
    Ok(price)
}

/// `GET /v1/prices/{id}`
pub(crate) fn retrieve(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    account.find("price", call.id())
}

/// `GET /v1/prices`
pub(crate) fn list(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let form = &call.form;
    let keys = form.texts("lookup_keys");
    let active = form.flag("active")?;
    let wanted = |row: &&Value| {
        (keys.is_empty() || row.opt("lookup_key").is_some_and(|key| keys.iter().any(|wanted| wanted == key)))
            && active.is_none_or(|active| row.is("active") == active)
            && form.text("product").is_none_or(|product| row.text("product") == product)
            && form.text("currency").is_none_or(|currency| row.text("currency") == currency)
            && form.text("type").is_none_or(|kind| row.text("type") == kind)
    };
    page::paginate(&account.store, account.store.of_kind("price").filter(wanted), form, "/v1/prices")
}

/// `POST /v1/prices/{id}`
pub(crate) fn update(account: &mut StripeAccount, call: &Call) -> Result<Value, ApiError> {
    let price = account.find("price", call.id())?;
    release_lookup_key(account, &call.form, Some(price.id()))?;
    let fields = changed_fields(&price, &call.form, &["nickname", "lookup_key"])?;
    change(account, price.id(), Value::Object(fields))
}

/// Changes a price, also in the subscriptions that have it: they show its present state.
fn change(account: &mut StripeAccount, id: &str, fields: Value) -> Result<Value, ApiError> {
    let price = account.change_and_emit(id, fields, "price.updated")?;
    let has_it = |row: &&Value| {
        let items = row["items"]["data"].as_array();
        items.is_some_and(|items| items.iter().any(|item| item["price"].id() == id))
    };
    let subscriptions: Vec<Value> = account.store.of_kind("subscription").filter(has_it).cloned().collect();
    for subscription in subscriptions {
        let mut items = subscription["items"].clone();
        let all = items["data"].as_array_mut().into_iter().flatten();
        all.filter(|item| item["price"].id() == id).for_each(|item| item["price"] = price.clone());
        account.change(subscription.id(), json!({ "items": items }));
    }
    Ok(price)
}

/// Takes the lookup key of a call off the price that has it, if the call asks for that. Source: Stripe, "Create a
/// price", `transfer_lookup_key`.
fn release_lookup_key(account: &mut StripeAccount, form: &Form, own: Option<&str>) -> Result<(), ApiError> {
    let Some(key) = form.text("lookup_key") else { return Ok(()) };
    let holder = account.store.of_kind("price").find(|price| price.text("lookup_key") == key);
    let holder = holder.map(|price| price.id().to_owned()).filter(|id| own != Some(id.as_str()));
    let Some(holder) = holder else { return Ok(()) };
    if !form.flag("transfer_lookup_key")?.unwrap_or(false) {
        let message = format!("A price already uses that lookup key: {key}.");
        return Err(ApiError::refused_without_code(&message).with_param("lookup_key"));
    }
    change(account, &holder, json!({ "lookup_key": null }))?;
    Ok(())
}

/// Creates a price from `price_data` or the parameters of a call.
pub(crate) fn make(account: &mut StripeAccount, form: &Form) -> Result<Value, ApiError> {
    let currency = form.required("currency")?.to_lowercase();
    let amount = form.int("unit_amount")?.ok_or_else(|| ApiError::missing("unit_amount"))?;
    let product = match (form.text("product"), form.text("product_data.name")) {
        (Some(id), _) => account.find_param("product", id, "product")?,
        (None, Some(name)) => account.make("prod", "product", json!({ "name": name, "updated": account.now_s }))?,
        (None, None) => return Err(ApiError::missing("product")),
    };
    release_lookup_key(account, form, None)?;
    let interval = form.text("recurring.interval");
    let count = form.int("recurring.interval_count")?.unwrap_or(1);
    if let Some(interval) = interval
        && !matches!(interval, "day" | "week" | "month" | "year")
    {
        let message = "Invalid recurring[interval]: must be one of day, month, week, or year";
        return Err(ApiError::invalid("parameter_invalid_string", Some("recurring[interval]"), message));
    }
    let fields = json!({
        "currency": currency, "unit_amount": amount, "unit_amount_decimal": amount.to_string(),
        "product": product.id(), "lookup_key": form.nullable("lookup_key"), "nickname": form.nullable("nickname"),
        "metadata": form.metadata(&json!({}))?, "type": if interval.is_some() { "recurring" } else { "one_time" },
        "recurring": interval.map_or(Value::Null, |interval| recurring(interval, count)),
    });
    account.make("price", "price", fields)
}

fn recurring(interval: &str, count: i64) -> Value {
    json!({ "interval": interval, "interval_count": count, "meter": null,
            "usage_type": "licensed" })
}

/// The changed metadata, the parameters in `names`, and `active`, as far as the call has them.
fn changed_fields(object: &Value, form: &Form, names: &[&str]) -> Result<Map<String, Value>, ApiError> {
    let mut fields = StripeAccount::metadata_change(object, form)?;
    fields.extend(form.nullables(names));
    if let Some(active) = form.flag("active")? {
        fields.insert("active".to_owned(), active.into());
    }
    Ok(fields)
}
