{{ seen_in_spend('campaign_id') }},

adsets as (
    select * from {{ ref('stg_meta__adsets') }}
),

ads as (
    select * from {{ ref('stg_meta__ads') }}
),

known_ids as (
    select
        fb_campaign_id,
        account_id,
        campaign_name,
        {{ midnight('first_date') }} as first_seen_at,
        {{ midnight('last_date') }} as last_seen_at,
        1 as precedence
    from seen
    union all
    select
        fb_campaign_id,
        min(account_id) as account_id,
        null as campaign_name,
        min(created_at) as first_seen_at,
        max(updated_at) as last_seen_at,
        2 as precedence
    from adsets
    group by fb_campaign_id
    union all
    select
        fb_campaign_id,
        min(account_id) as account_id,
        null as campaign_name,
        min(created_at) as first_seen_at,
        max(updated_at) as last_seen_at,
        3 as precedence
    from ads
    group by fb_campaign_id
),

best as (
    select distinct on (fb_campaign_id)
        fb_campaign_id,
        account_id,
        campaign_name,
        first_seen_at,
        last_seen_at
    from known_ids
    where fb_campaign_id is not null
    order by fb_campaign_id, precedence
)

select * from best
