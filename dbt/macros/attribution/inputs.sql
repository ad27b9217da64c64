{#- What decides the credits of a purchase and is in the purchase itself, or in no table. -#}
{% macro purchase_inputs(purchases) -%}
    {%- for column in [
        'brand_slug', 'profile_id', 'person_id', 'status', 'value', 'currency', 'brand_time_zone',
        'transacted_at', 'purchase_number', 'previous_purchase_at',
    ] %}
    {{ purchases }}.{{ column }},
    {%- endfor %}
    {{ attribution_settings_text() }}
{%- endmacro %}


{#- One number for the columns of `app.touchpoints` that attribution reads. -#}
{% macro touch_hash() -%}
    hash_record_extended(
        row(
            touchpoint_id, touched_at, utm_source, utm_medium, utm_campaign, utm_content, utm_term,
            ad_id, fbclid, fbc, gclid, gbraid, wbraid
        ),
        0
    )
{%- endmacro %}


{#-
    Closer than `int_credit_inputs`: what the credits of each stale purchase are computed from,
    without the touches after the purchase, which most new touches of somebody who bought are. Of
    those it counts only that there are some (`touches_after_purchase_only`), and that by what the
    credits have it from.
-#}
{% macro path_hashes() %}
    with

    purchases as not materialized (
        select * from {{ ref('int_transactions') }}
        where {{ of_slices(['transaction_id', 'brand_slug']) }}
    ),

    profiles as not materialized (
        {{ profiles_of('purchases') }}
    ),

    -- The ads of contacts count for any touch of their profile.
    touches as (
        select
            brand_slug,
            profile_id,
            touched_at,
            null::timestamptz as first_touched_at,
            touch_hash
        from {{ ref('stg_app__touchpoints') }}
        {{ of_profiles('profile_id', 'profiles') if is_sliced() }}
        union all
        select
            brand_slug,
            contact_id as profile_id,
            touched_at,
            null::timestamptz as first_touched_at,
            hash_record_extended(contact_touches, 0) as touch_hash
        from {{ ref('int_contact_touches') }} as contact_touches
        union all
        select
            brand_slug,
            profile_id,
            null as touched_at,
            first_touched_at,
            case when kind = 'contact_ads' then touches_hash end as touch_hash
        from {{ ref('int_touches_by_profile') }}
    ),

    touched as (
        select
            purchases.transaction_id,
            purchases.brand_slug,
            min(touches.first_touched_at) as first_touched_at,
            sum(touches.touch_hash) filter (
                where touches.touched_at <= purchases.transacted_at or touches.touched_at is null
            ) as touches_sum
        from touches
        left join {{ ref('int_people') }} as people
            on
                touches.brand_slug = people.brand_slug
                and touches.profile_id = people.profile_id
        inner join purchases
            on
                touches.brand_slug = purchases.brand_slug
                and coalesce(people.person_id, touches.profile_id) = purchases.person_id
        group by purchases.transaction_id, purchases.brand_slug
    )

    select
        purchases.transaction_id,
        purchases.brand_slug,
        hash_record_extended(
            row(
                {{ purchase_inputs('purchases') }},
                touched.first_touched_at <= purchases.transacted_at,
                touched.touches_sum
            ),
            0
        ) as exact_hash
    from purchases
    left join touched
        on
            purchases.transaction_id = touched.transaction_id
            and purchases.brand_slug = touched.brand_slug
{% endmacro %}
