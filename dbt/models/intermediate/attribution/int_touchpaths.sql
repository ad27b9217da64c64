{{ config(materialized='view') }}
{#-
    The eligible path of each purchase, one row per touch; a purchase without one keeps one row,
    with touch_index 0 and the reason.
-#}
with

purchases as (
    select * from {{ ref('int_purchases_due') }}
    where not is_gone
),

touches as (
    select * from {{ ref('int_touchpoints') }}
),

resolved as (
    select * from {{ ref('int_touchpoints_resolved') }}
),

first_touches as (
    select
        brand_slug,
        person_id,
        min(touched_at) as first_touched_at
    from touches
    group by brand_slug, person_id
),

clicked as (
    select
        *,
        case
            when click_id is not null
                then lag(touched_at) over (
                    partition by click_id, person_id, brand_slug
                    order by touched_at, touchpoint_id
                )
        end as same_click_before
    from resolved
),

eligible as (
    select
        purchases.transaction_id,
        purchases.brand_slug,
        purchases.person_id,
        purchases.value,
        clicked.touchpoint_id,
        clicked.source_platform,
        clicked.match_method,
        coalesce(clicked.is_paid, false) as is_paid,
        first_touches.first_touched_at,
        clicked.touched_at,
        purchases.transacted_at
    from purchases
    left join first_touches
        on
            purchases.brand_slug = first_touches.brand_slug
            and purchases.person_id = first_touches.person_id
    left join clicked
        on
            purchases.brand_slug = clicked.brand_slug
            and purchases.person_id = clicked.person_id
            and purchases.transacted_at >= clicked.touched_at
            and {{ in_window('clicked.touched_at') }}
            and (
                clicked.same_click_before is null
                or not {{ in_window('clicked.same_click_before') }}
            )
),

numbered as (
    select
        transaction_id,
        brand_slug,
        person_id,
        value,
        touchpoint_id,
        source_platform,
        match_method,
        is_paid,
        case when touchpoint_id is null then 0 else row_number() over oldest_first end::smallint
            as touch_index,
        (count(touchpoint_id) over oldest_first)::smallint as touch_count,
        max(touched_at) over oldest_first as last_touched_at,
        case
            when touchpoint_id is not null then null
            when person_id is null then 'no_profile'
            when first_touched_at is null then 'no_touch'
            when first_touched_at > transacted_at then 'touches_after_purchase_only'
            else 'no_touch_in_window'
        end as no_path_reason,
        touched_at,
        transacted_at
    from eligible
    window
        oldest_first as (
            partition by transaction_id, brand_slug
            order by touched_at, touchpoint_id
            rows between unbounded preceding and unbounded following
        )
),

paths as (
    select
        *,
        max(touch_index) filter (where is_paid) over (partition by transaction_id, brand_slug)
            as last_paid_index
    from numbered
)

select * from paths
