{{ seen_in_spend('adset_id') }},

ads as (
    select * from {{ ref('stg_meta__ads') }}
),

known_ids as (
    select
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name,
        {{ midnight('first_date') }} as first_seen_at,
        {{ midnight('last_date') }} as last_seen_at,
        1 as precedence
    from seen
    union all
    select
        fb_adset_id,
        min(fb_campaign_id) as fb_campaign_id,
        min(account_id) as account_id,
        null as adset_name,
        min(created_at) as first_seen_at,
        max(updated_at) as last_seen_at,
        2 as precedence
    from ads
    group by fb_adset_id
),

best as (
    select distinct on (fb_adset_id)
        fb_adset_id,
        fb_campaign_id,
        account_id,
        adset_name,
        first_seen_at,
        last_seen_at
    from known_ids
    where fb_adset_id is not null
    order by fb_adset_id, precedence
)

select * from best
