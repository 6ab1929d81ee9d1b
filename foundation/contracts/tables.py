"""The tables of the house. Money is minor units, times are UTC, ids are opaque strings."""

from foundation.contracts.table import Ceiling, Column, Table

CHANNELS = ("store", "app", "web", "email", "push", "mail", "till", "call")

# A lever may halve or double what an offer counts; more would overrule what was measured.
LOWEST_LEVER, HIGHEST_LEVER = 0.5, 2.0

INTERACTION_KINDS = (
    "sent",
    "impression",
    "view",
    "activate",
    "redeem",
    "reverse",
    "dismiss",
    "visit",
    "search",
    "purchase",
    "return",
    "complaint",
    "ticket_opened",
    "ticket_answered",
    "ticket_resolved",
    "survey",
)

OFFER_KINDS = (
    "percent",
    "amount",
    "fixed_price",
    "points",
    "gift",
    "buy_n_get_m",
    "bundle",
    "streak",
    "informational",
)

CUSTOMERS = Table(
    "customers",
    "customer_id",
    "record",
    (
        Column("customer_id", "string", "Who"),
        Column("household_id", "string", "Who she lives with", nullable=True),
        Column("joined_at", "time", "When she joined the programme", nullable=True),
        Column("home_store_id", "string", "Her usual store", nullable=True),
        Column("time_zone", "string", "Her IANA zone", nullable=True),
        Column("demographics", "json", "Never an input of an offer model", nullable=True),
        Column("attributes", "json", "Whatever else the retailer knows", nullable=True),
    ),
)

IDENTITIES = Table(
    "identities",
    "claim_id",
    "event",
    (
        Column("claim_id", "string", "One statement that an identity is a customer's"),
        Column("kind", "string", "What identifies her", one_of=("card", "app", "email_hash")),
        Column("value", "string", "The card's number, the app's id or the e-mail's hash"),
        Column("customer_id", "string", "Whose it is from then on"),
        Column("at", "time", "Since when"),
        Column("merged_from", "string", "Who held it before a merge", nullable=True),
    ),
)

CONSENTS = Table(
    "consents",
    "consent_id",
    "event",
    (
        Column("consent_id", "string", "One answer of hers"),
        Column("customer_id", "string", "Whose"),
        Column("channel", "string", "For which channel", one_of=CHANNELS),
        Column("granted", "boolean", "Whether she may be contacted there"),
        Column("at", "time", "From when it holds, until her next answer"),
    ),
)

STORES = Table(
    "stores",
    "store_id",
    "record",
    (
        Column("store_id", "string", "Which store"),
        Column("name", "string", "Its name", nullable=True),
        Column("time_zone", "string", "Its IANA zone"),
        Column("owner", "string", "Who runs it", one_of=("own", "franchise")),
        Column("participates", "boolean", "Whether it takes offers"),
        Column(
            "funding_share",
            "float64",
            "Part of a reward it pays (0-1)",
            nullable=True,
            at_least=0,
            at_most=1,
        ),
    ),
)

PRODUCTS = Table(
    "products",
    "product_id",
    "record",
    (
        Column("product_id", "string", "Which product"),
        Column("category", "string", "Broad category"),
        Column("subcategory", "string", "Narrow category", nullable=True),
        Column("brand", "string", "Brand", nullable=True),
        Column("margin_rate", "float64", "Margin as a part of net sales", nullable=True, at_most=1),
    ),
)

PURCHASES = Table(
    "purchases",
    "line_id",
    "event",
    (
        Column("line_id", "string", "One line of a receipt"),
        Column("customer_id", "string", "Who bought"),
        Column("order_id", "string", "The receipt"),
        Column("product_id", "string", "What"),
        Column("store_id", "string", "Where", nullable=True),
        Column("channel", "string", "Through which channel", one_of=CHANNELS),
        Column("at", "time", "When"),
        Column("local_day", "int64", "Day on the store's own calendar, days since 1970-01-01"),
        Column(
            "local_hour", "int64", "Hour on the store's own clock (0-23)", at_least=0, at_most=23
        ),
        Column("quantity", "float64", "Pieces or weight; negative for a return"),
        Column("amount", "money", "Net paid; negative for a return"),
        Column("discount", "money", "Taken off the shelf price in all", at_least=0),
        Column("offer_discount", "money", "Part of it given by personal offers", at_least=0),
        Column("offer_id", "string", "The offer that gave it", nullable=True),
        Column("funder", "string", "Who pays the offer's part", nullable=True),
        Column("margin", "money", "What the line earned, where known", nullable=True),
        Column("returns_line_id", "string", "The line this one returns", nullable=True),
    ),
)

OFFERS = Table(
    "offers",
    "offer_id",
    "record",
    (
        Column("offer_id", "string", "Which offer"),
        Column("title", "string", "What the customer reads"),
        Column("kind", "string", "What sort of reward", one_of=OFFER_KINDS),
        Column("reward", "float64", "Percent, money in minor units or points, by kind", at_least=0),
        Column("min_spend", "money", "Spend that earns it", at_least=0),
        Column("scope", "strings", "Products it holds for; empty means all"),
        Column("channels", "strings", "Where it may be shown; empty means everywhere"),
        Column("placements", "strings", "Which spots may show it; empty means all"),
        Column("stores", "strings", "Stores that take it; empty means all"),
        Column("valid_from", "time", "First instant"),
        Column("valid_to", "time", "First instant after it"),
        Column("eligibility", "json", "Rule on the customer; null means everyone", nullable=True),
        Column("total_cap", "int64", "Redemptions in all", nullable=True, at_least=0),
        Column("customer_cap", "int64", "Redemptions per customer", nullable=True, at_least=0),
        Column("budget", "money", "Reward money in all", nullable=True, at_least=0),
        Column("stock", "int64", "Pieces in all", nullable=True, at_least=0),
        Column("store_stock", "json", "Pieces by store_id; others have none", nullable=True),
        Column("cost", "money", "What one redemption costs the retailer", at_least=0),
        Column("funder", "string", "Who pays", nullable=True),
        Column("priority", "int64", "Tie-break between equal scores, higher first"),
        Column("exclusive_group", "string", "At most one of a group in a slate", nullable=True),
        Column("combinable", "boolean", "May be used with other offers"),
        Column("campaign_kind", "string", "The retailer's own kind of campaign", nullable=True),
        Column(
            "attribution_days",
            "int64",
            "Days from an exposure in which a redemption is its response; null: until valid_to",
            nullable=True,
            at_least=1,
        ),
        Column(
            "lever",
            "float64",
            "The marketer's weight where offers rank by money; null: 1",
            nullable=True,
            at_least=LOWEST_LEVER,
            at_most=HIGHEST_LEVER,
        ),
    ),
    # More than the whole price nobody takes off.
    ceilings=(Ceiling("reward", 100, where="kind", equals="percent"),),
)


INTERACTIONS = Table(
    "interactions",
    "event_id",
    "event",
    (
        Column("event_id", "string", "One event"),
        Column("customer_id", "string", "Whose"),
        Column("at", "time", "When"),
        Column("channel", "string", "Through which channel", one_of=CHANNELS),
        Column("touchpoint", "string", "Where in the journey", nullable=True),
        Column("kind", "string", "What happened", one_of=INTERACTION_KINDS),
        Column("offer_id", "string", "About which offer", nullable=True),
        Column("decision_id", "string", "Caused by which decision", nullable=True),
        Column("order_id", "string", "With which receipt", nullable=True),
        Column("value", "float64", "Money in minor units, or a score", nullable=True),
        Column("text", "string", "What she said", nullable=True),
    ),
)

SURVEYS = Table(
    "surveys",
    "response_id",
    "event",
    (
        Column("response_id", "string", "One answer"),
        Column("customer_id", "string", "Whose"),
        Column("at", "time", "When answered"),
        Column("asked_at", "time", "When asked", nullable=True),
        Column(
            "instrument", "string", "Which survey", one_of=("nps", "csat", "ces", "expectation")
        ),
        Column("score", "float64", "The answer"),
        Column("scale", "float64", "Highest answer possible", at_least=1),
        Column("touchpoint", "string", "About which part of the journey", nullable=True),
        Column("text", "string", "What she added", nullable=True),
    ),
)

# Nested lists (what was shown, what was refused, which variant) are JSON texts, so that every
# engine reads the same bytes; foundation.decision gives their shape.
DECISIONS = Table(
    "decisions",
    "decision_id",
    "event",
    (
        Column("decision_id", "string", "One answer to one request"),
        Column("customer_id", "string", "Asked for whom"),
        Column("at", "time", "When"),
        Column("channel", "string", "Asked by which channel", one_of=CHANNELS),
        Column("known", "boolean", "Whether the snapshot had the customer"),
        Column("propensity_valid", "boolean", "Whether the answer was the policy's own draw"),
        Column("policy", "string", "The policy that drew, with its settings"),
        Column("experiments", "json", "[{key, variant, unit}]"),
        Column("slates", "json", "[{placement, offers: [...], slate_propensity, fallback}]"),
        Column("record", "json", "The whole record: enough to replay the decision"),
    ),
)

SEGMENTS = Table(
    "segments",
    "segment_row_id",
    "event",
    (
        Column("segment_row_id", "string", "Run and customer"),
        Column("run_id", "string", "Which run of the segment job"),
        Column("as_of", "time", "Knowledge up to, not including, this instant"),
        Column("made_at", "time", "When the run was made: what was loaded later it did not know"),
        Column("customer_id", "string", "Who"),
        Column("recency_score", "int64", "1 (long ago) to 5", at_least=1, at_most=5),
        Column("frequency_score", "int64", "1 (seldom) to 5", at_least=1, at_most=5),
        Column("monetary_score", "int64", "1 (little) to 5", at_least=1, at_most=5),
        Column("rfm", "string", "Named group"),
        Column("lifecycle", "string", "Lifecycle state"),
        Column("cluster", "string", "Behavioural cluster"),
    ),
)

CLUSTER_MODELS = Table(
    "cluster_models",
    "run_id",
    "event",
    (
        Column("run_id", "string", "The run of the segment job that fitted it"),
        Column("as_of", "time", "Fitted on what was known before this instant"),
        Column("document", "json", "The model in plain numbers; see segmentation/cluster_model.py"),
    ),
)

RECEIPTS = Table(
    "receipts",
    "receipt_key",
    "record",
    (
        Column("receipt_key", "string", "Customer, order and instant in one"),
        Column("customer_id", "string", "Who"),
        Column("order_id", "string", "The receipt"),
        Column("at", "time", "When"),
        Column("amount", "money", "Net paid over its lines; negative for a return"),
    ),
)

FORECASTS = Table(
    "forecasts",
    "forecast_id",
    "event",
    (
        Column("forecast_id", "string", "Run, model and customer"),
        Column("run_id", "string", "Which run of the segment job"),
        Column("as_of", "time", "Knowledge up to, not including, this instant"),
        Column("made_at", "time", "When the run was made: what was loaded later it did not know"),
        Column("customer_id", "string", "Who"),
        Column("model", "string", "Which model and version, churn@3 say"),
        Column("horizon_days", "int64", "How far ahead", at_least=1),
        Column("value", "float64", "A probability, or money in minor units, by model"),
        Column("low", "float64", "Lower 95 % bound"),
        Column("high", "float64", "Upper 95 % bound"),
        Column("reasons", "strings", "Why, the strongest first"),
    ),
)

VALUES = Table(
    "values",
    "value_row_id",
    "event",
    (
        Column("value_row_id", "string", "Run and customer"),
        Column("run_id", "string", "Which run of the segment job"),
        Column("as_of", "time", "Knowledge up to, not including, this instant"),
        Column("made_at", "time", "When the run was made: what was loaded later it did not know"),
        Column("customer_id", "string", "Who; she has bought"),
        Column("model", "string", "Name and version of the model"),
        Column("horizon_weeks", "float64", "Weeks that are counted", at_least=0),
        Column("annual_discount", "float64", "What a later year's money is worth less"),
        Column("purchases", "float64", "Expected purchase days", at_least=0),
        Column("purchases_low", "float64", "Lower bound of the 80 % interval", at_least=0),
        Column("purchases_high", "float64", "Upper bound of the 80 % interval", at_least=0),
        Column("value", "money", "Expected net sales, discounted", nullable=True),
        Column("value_low", "money", "Lower bound of the 80 % interval"),
        Column("value_high", "money", "Upper bound of the 80 % interval"),
        Column("alive", "float64", "Probability that she has not stopped", at_least=0, at_most=1),
        Column("value_if_alive", "money", "Value if she has not stopped", nullable=True),
    ),
)

SEGMENT_DEFINITIONS = Table(
    "segment_definitions",
    "definition_id",
    "event",
    (
        Column("definition_id", "string", "Segment and version"),
        Column("segment_id", "string", "Which living segment"),
        Column("version", "int64", "1, 2, … of this segment", at_least=1),
        Column("name", "string", "What people call it"),
        Column("rule", "json", "Who is in"),
        Column("author", "string", "Who wrote this version"),
        Column("at", "time", "When it was saved"),
        Column("note", "string", "Why it was changed", nullable=True),
        Column("status", "string", "Whether runs refresh it", one_of=("active", "archived")),
    ),
)

MEMBERSHIPS = Table(
    "memberships",
    "membership_id",
    "event",
    (
        Column("membership_id", "string", "Run and segment"),
        Column("run_id", "string", "Which run of the segment job"),
        Column("as_of", "time", "Knowledge up to, not including, this instant"),
        Column("at", "time", "When the run was made: what was loaded later it did not know"),
        Column("segment_id", "string", "Which living segment"),
        Column("version", "int64", "By which version of its rule", at_least=1),
        Column("members", "strings", "Everybody in it, by customer_id"),
    ),
)

COMPLEMENTS = Table(
    "complements",
    "complement_id",
    "record",
    (
        Column("complement_id", "string", "Level, product and other"),
        Column("run_id", "string", "The run of the segment job that found it"),
        Column("as_of", "time", "Of purchases before this instant"),
        Column("level", "string", "Products, or their subcategories", one_of=("product", "group")),
        Column("product", "string", "Which product or subcategory"),
        Column("other", "string", "What is bought with it"),
        Column("together", "int64", "Baskets that hold both", at_least=0),
        Column("expected", "float64", "Baskets that would by chance", at_least=0),
        Column("design_effect", "float64", "How much customers' repetition counts", at_least=1),
        Column("p_value", "float64", "Chance of so many or more", at_least=0, at_most=1),
        Column("lift", "float64", "Together over expected", at_least=0),
        Column("low", "float64", "Lower bound of the lift", at_least=0),
        Column("high", "float64", "Upper bound of the lift", at_least=0),
    ),
)

ASSUMPTIONS = Table(
    "assumptions",
    "name",
    "record",
    (
        Column("name", "string", "What is assumed"),
        Column("value", "json", "The value that stands in"),
        Column("statement", "string", "How a report says it"),
    ),
)

QUARANTINE = Table(
    "quarantine",
    "fault_id",
    "event",
    (
        Column("fault_id", "string", "Source, line and column"),
        Column("source", "string", "File"),
        Column("table", "string", "Meant for"),
        Column("source_line", "int64", "Line in the file, the header being 1", at_least=1),
        Column("column", "string", "Which column"),
        Column("value", "string", "What stood there", nullable=True),
        Column("reason", "string", "Which rule it broke"),
        Column("at", "time", "When it was refused"),
    ),
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        CUSTOMERS,
        IDENTITIES,
        CONSENTS,
        STORES,
        PRODUCTS,
        PURCHASES,
        OFFERS,
        INTERACTIONS,
        SURVEYS,
        DECISIONS,
        SEGMENTS,
        CLUSTER_MODELS,
        RECEIPTS,
        FORECASTS,
        VALUES,
        SEGMENT_DEFINITIONS,
        MEMBERSHIPS,
        COMPLEMENTS,
        ASSUMPTIONS,
        QUARANTINE,
    )
}
