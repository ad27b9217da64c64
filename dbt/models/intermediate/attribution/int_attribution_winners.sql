{#- Of each purchase that is due, the touch with the most credit by the default model. -#}
with

credits as (
    select * from {{ ref('int_attribution_credits') }}
),

winners as (
    select * from credits
    where is_winner and model = '{{ attribution_setting("attribution_default_model") }}'
)

select * from winners
