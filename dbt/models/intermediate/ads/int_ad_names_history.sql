with

campaigns as (
    select * from {{ ref('campaigns_snapshot') }}
),

adsets as (
    select * from {{ ref('adsets_snapshot') }}
),

ads as (
    select * from {{ ref('ads_snapshot') }}
),

unioned as (
    select
        'campaign' as object_type,
        fb_campaign_id as fb_id,
        campaign_name as object_name,
        dbt_valid_from,
        dbt_valid_to
    from campaigns
    union all
    select
        'adset' as object_type,
        fb_adset_id as fb_id,
        adset_name as object_name,
        dbt_valid_from,
        dbt_valid_to
    from adsets
    union all
    select
        'ad' as object_type,
        fb_ad_id as fb_id,
        ad_name as object_name,
        dbt_valid_from,
        dbt_valid_to
    from ads
),

-- What an object was called before we first saw it is not known; its first known name is used.
stretched as (
    select
        object_type,
        fb_id,
        object_name,
        case
            when
                row_number() over (
                    partition by object_type, fb_id order by dbt_valid_from
                ) = 1
                then '-infinity'::timestamptz
            else dbt_valid_from
        end as valid_from,
        coalesce(dbt_valid_to, 'infinity'::timestamptz) as valid_to
    from unioned
)

select * from stretched
