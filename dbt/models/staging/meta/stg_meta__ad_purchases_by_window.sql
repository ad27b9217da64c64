{{ config(materialized='ephemeral') }}
{#-
    No `with` here, so that a filter on the day reaches the partitions. Meta leaves a window out
    that counted nothing; `value` is the account's own window, by default seven days after a click
    and one after a view.
-#}
{%- set claimed = number_or_null('purchases.action ->> windows.key') -%}
{%- set worth = number_or_null('purchase_values.action ->> windows.key') %}
-- noqa: disable=ST05
select
    insights.ad_id as fb_ad_id,
    insights.account_id,
    windows.attribution_window,
    coalesce({{ claimed }}, 0) as platform_purchases,
    case
        when not purchase_values.action ? windows.key then 0
        when purchase_values.action is not null then {{ worth }}
        when coalesce({{ claimed }}, 0) = 0 then 0
    end as platform_purchase_value,
    insights.date
from {{ source('meta', 'meta_ad_insights') }} as insights
cross join
    lateral (
        select coalesce(
            jsonb_path_query_first(
                insights.payload, '$.actions[*] ? (@.action_type == "omni_purchase")'
            ),
            jsonb_path_query_first(insights.payload, '$.actions[*] ? (@.action_type == "purchase")')
        ) as action
    ) as purchases
cross join
    lateral (
        select coalesce(
            jsonb_path_query_first(
                insights.payload, '$.action_values[*] ? (@.action_type == "omni_purchase")'
            ),
            jsonb_path_query_first(
                insights.payload, '$.action_values[*] ? (@.action_type == "purchase")'
            )
        ) as action
    ) as purchase_values
cross join (
    values
    ('default', 'value')
    {%- for window in var('platform_claim_windows') %},
    ('{{ window }}', '{{ window }}')
    {%- endfor %}
) as windows (attribution_window, key)
