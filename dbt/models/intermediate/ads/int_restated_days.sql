with

restatements as (
    select * from {{ ref('int_restatements_counted') }}
),

accounts as (
    select * from {{ ref('int_ad_accounts') }}
),

described as (
    select
        restatements.account_id,
        accounts.account_name,
        accounts.brand_slug,
        accounts.currency,
        accounts.time_zone,
        restatements.restatement_count,
        true as is_settled,
        restatements.date,
        restatements.last_restated_at
    from restatements
    left join accounts on restatements.account_id = accounts.account_id
)

select * from described
