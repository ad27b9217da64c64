{#-
    What the credits of each purchase are computed from, as one number: whatever changes in the
    purchase, in any touch of its person, in what is known of what the touch names, or in the
    settings changes it.

    Touches are not resolved for that: what is known of what a URL names is looked up once for each
    different URL (`int_url_evidence`). A number that changes without need costs the computation of
    one person.
-#}
with

transactions as (
    select * from {{ ref('int_transactions') }}
),

url_evidence as (
    select * from {{ ref('int_url_evidence') }}
),

contact_ads as (
    select * from {{ ref('int_contact_ads') }}
),

google_clicks as (
    select * from {{ ref('int_google_clicks') }}
),

ad_objects as (
    select * from {{ ref('int_ad_objects') }}
),

-- The touches, as the models of credits read them.
touches as (
    {{ touchpoints() }}
),

captured as (
    select
        contact_ads.brand_slug,
        contact_ads.click_id,
        hash_record_extended(
            row(contact_ads.fb_ad_id, {{ object_columns('ad_objects') }}), 0
        ) as captured_hash
    from contact_ads
    left join ad_objects on contact_ads.fb_ad_id = ad_objects.fb_id
),

touches_of_people as (
    select
        touches.brand_slug,
        touches.person_id,
        count(*) as touch_count,
        sum(
            hash_record_extended(
                row(
                    touches.touchpoint_id,
                    touches.utm_source,
                    touches.utm_medium,
                    {{ evidence_hash('touches') }},
                    touches.has_malformed_ad_id,
                    touches.fb_click_id,
                    touches.click_id,
                    touches.has_google_click,
                    touches.touched_at,
                    url_evidence.known_hash,
                    captured.captured_hash,
                    google_clicks.google_campaign_id,
                    google_clicks.google_ad_group_id,
                    google_clicks.google_ad_id
                ),
                0
            )
        ) as touches_hash
    from touches
    left join url_evidence
        on {{ evidence_hash('touches') }} = url_evidence.evidence_hash
    left join captured
        on touches.click_id = captured.click_id and touches.brand_slug = captured.brand_slug
    left join google_clicks on touches.gclid = google_clicks.gclid
    group by touches.brand_slug, touches.person_id
),

inputs as (
    select
        transactions.transaction_id,
        hash_record_extended(
            row(
                transactions.brand_slug,
                transactions.person_id,
                transactions.value,
                transactions.currency,
                transactions.brand_time_zone,
                transactions.transacted_at,
                transactions.previous_purchase_at,
                touches_of_people.touch_count,
                touches_of_people.touches_hash,
                {{ attribution_settings_text() }}
            ),
            0
        ) as inputs_hash,
        true as is_settled
    from transactions
    left join touches_of_people
        on
            transactions.brand_slug = touches_of_people.brand_slug
            and transactions.person_id = touches_of_people.person_id
)

select * from inputs
