{#- Whether both marts of purchases exist. Their names alone are asked for: nothing is read of them. -#}
{% macro marts_of_purchases_exist() -%}
    {%- set schema = generate_schema_name('marts', model) | trim -%}
    {{ return(
        not execute or (
            adapter.get_relation(target.database, schema, 'ad_attribution_credits') is not none
            and adapter.get_relation(target.database, schema, 'ad_attributions') is not none
        )
    ) }}
{%- endmacro %}


{#-
    A condition: the row is of a purchase that this build computes. Two conditions in place of one:
    by the array, rows are found through an index that begins with `transaction_id`, and the cost does
    not grow with the history. 65,000 purchases of 7,300,000 credits: 0.8 s, and 3.3 s without it.
-#}
{% macro is_due(relation) -%}
    {{ relation }}.transaction_id = any(
        array(select due.transaction_id from {{ ref('int_purchases_due') }} as due)
    )
    and ({{ relation }}.transaction_id, {{ relation }}.brand_slug) in (
        select
            due.transaction_id,
            due.brand_slug
        from {{ ref('int_purchases_due') }} as due
    )
{%- endmacro %}


{#-
    Purchases that the latest build has not seen as they are now: it did not read them, or they
    changed since it began. Tests leave them out on both sides until the next build. The minute is
    for purchases that were about to commit. Expects `transactions`.
-#}
{% macro purchases_not_seen() %}
    select
        transactions.transaction_id,
        transactions.brand_slug
    from transactions
    left join {{ ref('int_purchases') }} as seen
        on
            transactions.transaction_id = seen.transaction_id
            and transactions.brand_slug = seen.brand_slug
            and not seen.is_gone
    where
        (transactions.is_revenue and seen.transaction_id is null)
        or (
            (transactions.is_revenue, transactions.value, transactions.currency)
            is distinct from (seen.transaction_id is not null, seen.value, seen.currency)
            and greatest(
                transactions.transacted_at, transactions.refunded_at, transactions.updated_at
            ) >= '{{ run_started_at }}'::timestamptz - interval '1 minute'
        )
{% endmacro %}


{% macro is_seen(relation) -%}
    not exists (
        select from not_seen
        where
            not_seen.transaction_id = {{ relation }}.transaction_id
            and not_seen.brand_slug = {{ relation }}.brand_slug
    )
{%- endmacro %}
