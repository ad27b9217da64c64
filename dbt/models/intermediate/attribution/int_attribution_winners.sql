{#- Of each purchase that is due, the touch with the most credit by the default model, the newest of equals. -#}
with

credits as (
    select * from {{ ref('int_attribution_credits') }}
    where model = '{{ attribution_setting("attribution_default_model") }}'
),

winners as (
    select distinct on (transaction_id, brand_slug) *
    from credits
    order by transaction_id asc, brand_slug asc, weight desc, touch_index desc
)

select * from winners
