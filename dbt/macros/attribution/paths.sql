{#-
    The eligible path of each purchase, one row per touch; a purchase without one keeps one row,
    with touch_index 0 and the reason.

    Args:
        transactions: relation with the columns of `int_transactions`.
        touches: relation with the columns of `touchpoints_resolved()`.
        first_touches: relation of (brand_slug, person_id, first_touched_at): of these touches, when
            each person's first one was. It shows why a purchase has no path.
-#}
{% macro eligible_paths(transactions, touches, first_touches) %}
    select
        *,
        max(touch_index) filter (where is_paid) over (partition by transaction_id, brand_slug)
            as last_paid_index
    from (
        select
            transaction_id,
            brand_slug,
            person_id,
            value,
            currency,
            brand_time_zone,
            touchpoint_id,
            source_platform,
            campaign_id,
            adset_id,
            ad_id,
            fb_campaign_id,
            fb_adset_id,
            fb_ad_id,
            google_campaign_id,
            google_ad_group_id,
            google_ad_id,
            account_id,
            account_time_zone,
            match_method,
            unresolved_reason,
            is_paid,
            case when touchpoint_id is null then 0 else row_number() over oldest_first end::smallint
                as touch_index,
            (count(touchpoint_id) over oldest_first)::smallint as touch_count,
            max(touched_at) over oldest_first as last_touched_at,
            case
                when touchpoint_id is not null then null
                when person_id is null then 'no_profile'
                when first_touched_at is null then 'no_touch'
                when first_touched_at > transacted_at then 'touches_after_purchase_only'
                else 'no_touch_in_window'
            end as no_path_reason,
            touched_at,
            transacted_at
        from (
            select
                purchases.transaction_id,
                purchases.brand_slug,
                purchases.person_id,
                purchases.value,
                purchases.currency,
                purchases.brand_time_zone,
                touch.touchpoint_id,
                touch.source_platform,
                touch.campaign_id,
                touch.adset_id,
                touch.ad_id,
                touch.fb_campaign_id,
                touch.fb_adset_id,
                touch.fb_ad_id,
                touch.google_campaign_id,
                touch.google_ad_group_id,
                touch.google_ad_id,
                touch.account_id,
                touch.account_time_zone,
                touch.match_method,
                touch.unresolved_reason,
                coalesce(touch.is_paid, false) as is_paid,
                first_touches.first_touched_at,
                touch.touched_at,
                purchases.transacted_at
            from {{ transactions }} as purchases
            left join {{ first_touches }} as first_touches
                on
                    purchases.brand_slug = first_touches.brand_slug
                    and purchases.person_id = first_touches.person_id
            left join (
                select
                    *,
                    case
                        when click_id is not null
                            then lag(touched_at) over (
                                partition by click_id, person_id, brand_slug
                                order by touched_at, touchpoint_id
                            )
                    end as same_click_before
                from {{ touches }}
            ) as touch
                on
                    purchases.brand_slug = touch.brand_slug
                    and purchases.person_id = touch.person_id
                    and touch.touched_at <= purchases.transacted_at
                    and {{ in_window('touch.touched_at') }}
                    and (
                        touch.same_click_before is null
                        or not {{ in_window('touch.same_click_before') }}
                    )
        ) as eligible
        window
            oldest_first as (
                partition by transaction_id, brand_slug
                order by touched_at, touchpoint_id
                rows between unbounded preceding and unbounded following
            )
    ) as numbered
{% endmacro %}


{#-
    Whether a moment is late enough to count for a purchase: not before the look-back window, and,
    if paths are reset, after the person's previous purchase.
-#}
{% macro in_window(moment) -%}
    (
        {{ moment }} >= purchases.transacted_at
        - {{ lookback('touch.source_platform', 'touch.is_view') }}
        {%- if attribution_setting('attribution_reset_after_purchase') %}
        and {{ moment }} > coalesce(purchases.previous_purchase_at, '-infinity')
        {%- endif %}
    )
{%- endmacro %}
