-- depends_on: {{ ref('int_credit_inputs') }}
{{
    config(
        unique_key=['transaction_id', 'model', 'touch_index'],
        slices='int_credit_inputs',
        slice_by=['transaction_id'],
        slices_kept=true,
        pre_hook="set local work_mem = '128MB'",
        indexes=[
            {'columns': ['date', 'model']},
            {'columns': ['ad_id', 'date']},
            {'columns': ['campaign_id', 'date']},
        ],
    )
}}

with

transactions as (
    select * from {{ ref('int_transactions') }}
    {%- if is_sliced() %}
    where transaction_id in (select transaction_id from {{ mart_slices(this) }})
    {%- endif %}
),

people as (
    select * from {{ ref('int_people') }}
),

-- All profiles of the people who bought: nobody else's touches are read.
profiles as (
    select
        brand_slug,
        person_id as profile_id
    from transactions
    where person_id is not null
    union
    select
        people.brand_slug,
        people.profile_id
    from transactions
    inner join people
        on
            transactions.brand_slug = people.brand_slug
            and transactions.person_id = people.person_id
),

touches as (
    {{ touchpoints('profiles') }}
),

resolved as (
    {{ touchpoints_resolved('touches') }}
),

paths as (
    {{ eligible_paths('transactions', 'resolved') }}
),

keyed as (
    select
        *,
        case
            when account_id is not null then {{ meta_key('campaign', 'fb_campaign_id') }}
            else {{ meta_unknown_key('campaign') }}
        end as campaign_id,
        case
            when account_id is not null then {{ meta_key('adset', 'fb_adset_id') }}
            else {{ meta_unknown_key('adset') }}
        end as adset_id,
        case
            when account_id is not null then {{ meta_key('ad', 'fb_ad_id') }}
            else {{ meta_unknown_key('ad') }}
        end as ad_id,
        (transacted_at at time zone coalesce(account_time_zone, brand_time_zone))::date as date
    from paths
),

weighted as (
    {{ weighted_paths('keyed') }}
),

credits as (
    select
        weighted.transaction_id,
        shares.model,
        weighted.touch_index,
        weighted.touch_count,
        weighted.touchpoint_id,
        weighted.brand_slug,
        weighted.campaign_id,
        weighted.adset_id,
        weighted.ad_id,
        weighted.fb_campaign_id,
        weighted.fb_adset_id,
        weighted.fb_ad_id,
        weighted.google_campaign_id,
        weighted.google_ad_group_id,
        weighted.google_ad_id,
        weighted.account_id,
        weighted.source_platform,
        weighted.match_method,
        weighted.unresolved_reason as unattributed_reason,
        weighted.currency,
        shares.weight,
        shares.attributed_value,
        weighted.date,
        weighted.touched_at,
        weighted.transacted_at
    from weighted
    cross join lateral (
        values
        {%- for model in attribution_setting('attribution_models') %}
        (
            '{{ model }}',
            weighted.{{ model }}_weight,
            weighted.{{ model }}_value
        ){{ ',' if not loop.last }}
        {%- endfor %}
    ) as shares (model, weight, attributed_value)
    where shares.weight > 0
),

unattributed as (
    select
        weighted.transaction_id,
        missing.model,
        0::smallint as touch_index,
        weighted.touch_count,
        null::text as touchpoint_id,
        weighted.brand_slug,
        {{ meta_unknown_key('campaign') }} as campaign_id,
        {{ meta_unknown_key('adset') }} as adset_id,
        {{ meta_unknown_key('ad') }} as ad_id,
        null::text as fb_campaign_id,
        null::text as fb_adset_id,
        null::text as fb_ad_id,
        null::text as google_campaign_id,
        null::text as google_ad_group_id,
        null::text as google_ad_id,
        null::text as account_id,
        null::text as source_platform,
        null::text as match_method,
        coalesce(weighted.no_path_reason, 'no_paid_touch') as unattributed_reason,
        weighted.currency,
        1::numeric as weight,
        weighted.value as attributed_value,
        (weighted.transacted_at at time zone weighted.brand_time_zone)::date as date,
        null::timestamptz as touched_at,
        weighted.transacted_at
    from weighted
    cross join lateral (
        values
        {%- for model in attribution_setting('attribution_models') %}
        ('{{ model }}', weighted.{{ model }}_last){{ ',' if not loop.last }}
        {%- endfor %}
    ) as missing (model, last_index)
    where weighted.position = 1 and missing.last_index is null
),

unioned as (
    select * from credits
    union all
    select * from unattributed
)

select * from unioned
