{#-
    What the credits of each purchase are computed from, as one number: whatever changes in the
    purchase, in any touch of its person, in what an ad is known by, or in the settings changes it.
-#}
with

transactions as (
    select * from {{ ref('int_transactions') }}
),

touches as (
    select * from {{ ref('int_touchpoints_resolved') }}
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
                    touches.source_platform,
                    touches.fb_campaign_id,
                    touches.fb_adset_id,
                    touches.fb_ad_id,
                    touches.google_campaign_id,
                    touches.google_ad_group_id,
                    touches.google_ad_id,
                    touches.account_id,
                    touches.account_time_zone,
                    touches.match_method,
                    touches.unresolved_reason,
                    touches.click_id,
                    touches.is_view,
                    touches.is_paid,
                    touches.touched_at
                ),
                0
            )
        ) as touches_hash
    from touches
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
