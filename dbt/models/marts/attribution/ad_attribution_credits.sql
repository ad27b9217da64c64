-- depends_on: {{ ref('int_credit_inputs') }}
{#-
    A merge join would sort a million wide rows that a hash join need not: Postgres cannot tell, as it
    does not know how many touches a person has. Nothing is materialized: what reads such a part is
    not computed in parallel. The lock keeps the reference hashes as they are until they are stored.
-#}
{{
    config(
        unique_key=['transaction_id', 'brand_slug', 'model', 'touch_index'],
        slices='int_credit_inputs',
        slice_by=['transaction_id', 'brand_slug'],
        slices_kept=true,
        slices_narrowed_by='path_hashes',
        pre_hook=[
            "set local work_mem = '128MB'",
            "set local maintenance_work_mem = '256MB'",
            "set local enable_mergejoin = off",
            "lock table {{ ref('int_reference_hashes') }} in share mode",
        ],
        post_hook='{{ store_reference_hashes() }}',
        indexes=[
            {'columns': ['date']},
            {'columns': ['ad_id', 'date']},
        ],
    )
}}

with

transactions as not materialized (
    select * from {{ ref('int_transactions') }}
    where {{ of_slices(['transaction_id', 'brand_slug']) }}
),

people as not materialized (
    select * from {{ ref('int_people') }}
),

-- Only the touches of these profiles are read.
profiles as not materialized (
    {{ profiles_of('transactions') }}
),

touches_by_profile as (
    select * from {{ ref('int_touches_by_profile') }}
    {{ of_profiles('profile_id', 'profiles') }}
),

touches as (
    {{ touchpoints('profiles') }}
),

resolved as (
    {{ touchpoints_resolved('touches') }}
),

-- As they were when it was judged which purchases are computed anew.
first_touches as ( -- noqa: ST03
    select
        touches_by_profile.brand_slug,
        coalesce(people.person_id, touches_by_profile.profile_id) as person_id,
        min(touches_by_profile.first_touched_at) as first_touched_at
    from touches_by_profile
    left join people
        on
            touches_by_profile.brand_slug = people.brand_slug
            and touches_by_profile.profile_id = people.profile_id
    group by
        touches_by_profile.brand_slug,
        coalesce(people.person_id, touches_by_profile.profile_id)
),

paths as (
    {{ eligible_paths('transactions', 'resolved', 'first_touches') }}
),

weighted as (
    {{ weighted_paths('paths') }}
),

-- Of a path that a model gives nothing to, the first row stands for the purchase: touch_index 0.
unpivoted as (
    select
        weighted.*,
        shares.model,
        shares.weight,
        shares.attributed_value,
        shares.is_missing
    from weighted
    cross join
        lateral (
            values
            {%- for model in attribution_setting('attribution_models') %}
            (
                '{{ model }}',
                weighted.{{ model }}_weight,
                weighted.{{ model }}_value,
                weighted.{{ model }}_missing
            ){{ ',' if not loop.last }}
            {%- endfor %}
        ) as shares (model, weight, attributed_value, is_missing)
    where
        shares.weight > 0
        or (shares.is_missing and weighted.touch_index <= 1)
),

credits as (
    select
        transaction_id,
        model,
        case when is_missing then 0 else touch_index end as touch_index,
        touch_count,
        coalesce(weight, 1) as weight,
        coalesce(attributed_value, value) as attributed_value,
        currency,
        (
            transacted_at
            at time zone coalesce(
                case when not is_missing then account_time_zone end, brand_time_zone
            )
        )::date as date,
        case when not is_missing then touchpoint_id end as touchpoint_id,
        brand_slug,
        coalesce(
            case when not is_missing then campaign_id end, {{ meta_unknown_key('campaign') }}
        ) as campaign_id,
        coalesce(
            case when not is_missing then adset_id end, {{ meta_unknown_key('adset') }}
        ) as adset_id,
        coalesce(case when not is_missing then ad_id end, {{ meta_unknown_key('ad') }}) as ad_id,
        {%- for column in [
            'fb_campaign_id', 'fb_adset_id', 'fb_ad_id', 'google_campaign_id',
            'google_ad_group_id', 'google_ad_id', 'account_id', 'source_platform', 'match_method',
        ] %}
        case when not is_missing then {{ column }} end as {{ column }},
        {%- endfor %}
        case
            when is_missing then coalesce(no_path_reason, 'no_paid_touch')
            else unresolved_reason
        end as unattributed_reason,
        case when not is_missing then touched_at end as touched_at,
        transacted_at
    from unpivoted
)

select * from credits
