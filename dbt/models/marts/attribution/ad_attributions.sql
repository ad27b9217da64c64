-- depends_on: {{ ref('int_attribution_inputs') }}
{{
    config(
        slices='int_attribution_inputs',
        slice_by=['transaction_id', 'brand_slug'],
        slices_kept=true,
        pre_hook=["set local work_mem = '128MB'", 'set local enable_mergejoin = off'],
        indexes=[
            {'columns': ['transaction_id', 'brand_slug'], 'unique': true},
            {'columns': ['date']},
            {'columns': ['ad_id', 'date']},
            {'columns': ['campaign_id', 'date']},
            {'columns': ['user_id']},
        ],
    )
}}

with

transactions as (
    select * from {{ ref('int_transactions') }}
    where {{ of_slices(['transaction_id', 'brand_slug']) }}
),

credits as (
    select * from {{ ref('ad_attribution_credits') }}
    where model = '{{ attribution_setting("attribution_default_model") }}'
),

deliveries as (
    select * from {{ ref('int_deliveries_of_transactions') }}
),

-- The touch with the most credit, the newest of equals.
winners as (
    select distinct on (transactions.transaction_id, transactions.brand_slug) credits.*
    from transactions
    inner join credits
        on
            transactions.transaction_id = credits.transaction_id
            and transactions.brand_slug = credits.brand_slug
    order by
        transactions.transaction_id asc,
        transactions.brand_slug asc,
        credits.weight desc,
        credits.touch_index desc
),

touchpoints as (
    select
        touchpoint_id,
        brand_slug,
        fb_click_id
    from {{ ref('stg_app__touchpoints') }}
    where touchpoint_id in (select winners.touchpoint_id from winners)
    union all
    select
        touchpoint_id,
        brand_slug,
        fb_click_id
    from {{ ref('int_contact_touches') }}
),

attributions as (
    select
        md5('transaction|' || transactions.brand_slug || '|' || transactions.transaction_id)::uuid
            as id,
        transactions.profile_id as user_id,
        transactions.person_id,
        transactions.transaction_id,
        transactions.brand_slug,
        winners.model,
        winners.touch_index,
        winners.touch_count,
        winners.touchpoint_id,
        winners.campaign_id,
        winners.adset_id,
        winners.ad_id,
        winners.fb_campaign_id,
        winners.fb_adset_id,
        winners.fb_ad_id,
        winners.google_campaign_id,
        winners.google_ad_group_id,
        winners.google_ad_id,
        winners.account_id,
        coalesce(deliveries.event_name, 'Purchase') as conversion_event,
        transactions.status,
        transactions.value as conversion_value,
        transactions.currency,
        winners.source_platform,
        touchpoints.fb_click_id,
        winners.match_method,
        winners.unattributed_reason,
        transactions.purchase_number,
        deliveries.platforms -> 'meta' ->> 'status' as meta_delivery_status,
        deliveries.platforms -> 'meta' ->> 'outcome' as meta_delivery_outcome,
        deliveries.platforms -> 'google' ->> 'status' as google_delivery_status,
        deliveries.platforms -> 'google' ->> 'outcome' as google_delivery_outcome,
        deliveries.platforms -> 'posthog' ->> 'status' as posthog_delivery_status,
        deliveries.platforms -> 'posthog' ->> 'outcome' as posthog_delivery_outcome,
        deliveries.deliveries,
        winners.date,
        winners.touched_at,
        transactions.transacted_at as event_time
    from transactions
    inner join winners
        on
            transactions.transaction_id = winners.transaction_id
            and transactions.brand_slug = winners.brand_slug
    left join touchpoints
        on
            winners.touchpoint_id = touchpoints.touchpoint_id
            and winners.brand_slug = touchpoints.brand_slug
    left join deliveries
        on
            transactions.transaction_id = deliveries.transaction_id
            and transactions.brand_slug = deliveries.brand_slug
)

select * from attributions
