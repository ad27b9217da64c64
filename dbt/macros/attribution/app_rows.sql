{#-
    A view of the user's, by its name: the id that identifies a brand's rows, and the columns that
    the marts are made of.
-#}
{% macro app_view(name) -%}
    {{ return({
        'transactions': {
            'id': 'transaction_id',
            'columns': [
                'transaction_id', 'brand_slug', 'profile_id', 'status', 'amount', 'currency',
                'transacted_at', 'refunded_amount', 'refunded_at', 'updated_at',
            ],
        },
        'profiles': {
            'id': 'profile_id',
            'columns': [
                'profile_id', 'brand_slug', 'email', 'phone', 'external_id', 'updated_at',
            ],
        },
        'touchpoints': {
            'id': 'touchpoint_id',
            'columns': [
                'touchpoint_id', 'brand_slug', 'profile_id', 'touched_at', 'utm_source',
                'utm_medium', 'utm_campaign', 'utm_content', 'utm_term', 'ad_id', 'fbclid', 'fbc',
                'gclid', 'gbraid', 'wbraid',
            ],
        },
    }[name]) }}
{%- endmacro %}


{#- Whether an id is what a program writes where it has none. -#}
{% macro app_is_placeholder(column) -%}
    (
        lower(trim({{ column }})) in (
            'undefined', 'null', 'none', 'nan', 'n/a', '0', '-', '(none)', '(null)', '(not set)', '""'
        )
        or {{ column }} like {{ "'%{{%}}%'" }}
    )
{%- endmacro %}


{#-
    The mistakes for which a row is left out, whatever other rows say: (name, condition) in the order
    in which they are asked. `base_app__problems` has a unit test with one of each.

    An amount from 10¹³ on is none: cents are counted in a double. A moment is one from 2000 until
    tomorrow, by the clock of the database. What programs write where they have no id is none: guests
    of many shops are the customer 0. (The list is `PLACEHOLDERS` of include/tributary/deliver/identity.py.)
-#}
{% macro app_mistakes(name, asks_for_brands=true) -%}
    {%- set mistakes = [
        ('key_missing', 'coalesce(' ~ app_view(name).id ~ "::text, '') = ''" ~ (
            ' or ' ~ app_is_placeholder(app_view(name).id ~ '::text') if name != 'touchpoints' else ''
        )),
        ('brand_missing', "coalesce(brand_slug, '') = ''"),
    ] -%}
    {%- if asks_for_brands -%}
        {%- do mistakes.append((
            'brand_unknown',
            'brand_slug not in (select brands.slug from ' ~ source('tributary', 'brands') ~ ' as brands)',
        )) -%}
    {%- endif -%}
    {%- if name == 'transactions' -%}
        {%- do mistakes.extend([
            ('status_unknown', "coalesce(lower(trim(status)), '') not in ('completed', 'pending', 'cancelled', 'refunded')"),
            ('amount_impossible', 'not (abs(coalesce(amount, 0)::numeric) < 1e13 and coalesce(refunded_amount, 0)::numeric between 0 and 1e13)'),
        ]) -%}
    {%- endif -%}
    {%- set moment = {
        'transactions': 'coalesce(transacted_at, updated_at)', 'touchpoints': 'touched_at',
    }.get(name) -%}
    {%- if moment -%}
        {%- do mistakes.extend([
            (
                'time_missing',
                moment ~ ' is null'
                ~ (" and lower(trim(status)) in ('completed', 'refunded')" if name == 'transactions' else ''),
            ),
            ('time_impossible', 'not (' ~ moment ~ " >= '2000-01-01 00:00:00+00' and " ~ moment ~ " < now() + interval '1 day')"),
        ]) -%}
    {%- endif -%}
    {{ return(mistakes) }}
{%- endmacro %}


{#- The first mistake of a row by itself; null when there is none. -#}
{% macro app_mistake(name) -%}
    case
        {%- for mistake, condition in app_mistakes(name) %}
        when {{ condition }} then '{{ mistake }}'
        {%- endfor %}
    end
{%- endmacro %}


{#-
    Whether a row has no mistake. One `case`: of conditions beside each other Postgres would expect
    next to no rows.

    Args:
        besides: another condition that leaves a row out.
        asks_for_brands: whether the brand must be one of the settings.
-#}
{% macro app_is_sound(name, besides=none, asks_for_brands=true) -%}
    case
        {%- for mistake, condition in app_mistakes(name, asks_for_brands) %}
        when {{ condition }} then false
        {%- endfor %}
        {%- if besides %}
        when {{ besides }} then false
        {%- endif %}
        else true
    end
{%- endmacro %}


{#-
    Rows whose key is there more than once, among those without a mistake: one row for each different
    one, with how often it is there, and how many different ones the key has. Most keys are there once:
    comparing hashes is cheaper than comparing keys, and where two keys have one hash, the key decides.
-#}
{% macro app_repeated_rows(name) %}
    {%- set view = app_view(name) -%}
    {%- set columns = view.columns | join(',\n        ') -%}
    {%- set key_hash = 'hashtextextended(' ~ view.id ~ '::text, hashtextextended(brand_slug, 0))' -%}
with

source as not materialized (
    select
        {{ columns }}
    from {{ source('app', name) }}
),

versions as (
    select
        {{ columns }},
        count(*) as row_count
    from source
    where
        {{ key_hash }} in (
            select {{ key_hash }}
            from source as every_row
            group by 1
            having count(*) > 1
        )
        and {{ app_is_sound(name) }}
    group by
        {{ columns }}
),

counted as (
    select
        *,
        count(*) over (partition by brand_slug, {{ view.id }}) as version_count
    from versions
),

repeated as (
    select * from counted
    where row_count > 1 or version_count > 1
)

select * from repeated
{% endmacro %}


{#-
    The rows of a view of the user's that have no mistake, each key once: of rows that are the same in
    all these columns one, of those that differ none. No `with` here, so that Postgres looks through it.

    The brand is not asked for where that costs most: without the purchases of an unknown brand, its
    visits and profiles are never joined.
-#}
{% macro app_sound_rows(name) %}
    {%- set view = app_view(name) -%}
    {%- set repeated = ref('base_app__repeated_' ~ name) -%}
    {%- set besides -%}
        (brand_slug, {{ view.id }}) in (
            select
                repeated.brand_slug,
                repeated.{{ view.id }}
            from {{ repeated }} as repeated
        )
    {%- endset -%}
    select {{ view.columns | join(', ') }}
    from {{ source('app', name) }}
    where {{ app_is_sound(name, besides, asks_for_brands=name == 'transactions') }}
    union all
    select {{ view.columns | join(', ') }}
    from {{ repeated }}
    where version_count = 1
{% endmacro %}


{#-
    A key as it may be shown: an e-mail address or a phone number, which some shops have as ids, as
    `sha256:` and the first 16 digits of its SHA-256. Digits with dots, dashes or slashes are the number
    of an order; as the id of a profile they are a phone's, and bare ones from ten digits on.
-#}
{% macro app_shown(text, bare_digits_are_a_phone='false') -%}
    case
        when
            {{ text }} like '%@%'
            or (
                {{ text }} ~ '^[+(]?[\d\s().+/-]{6,}$'
                and length(regexp_replace({{ text }}, '\D', '', 'g')) between 7 and 15
                and (
                    {{ text }} ~ '[+() ]'
                    or (
                        {{ bare_digits_are_a_phone }}
                        and ({{ text }} ~ '\D' or length({{ text }}) >= 10)
                    )
                )
            )
            then 'sha256:' || left(encode(sha256(convert_to({{ text }}, 'UTF8')), 'hex'), 16)
        else {{ text }}
    end
{%- endmacro %}


{#- Writes what is left out to the build's log: view, brand, problem, how many rows. -#}
{% macro warn_of_data_problems() -%}
    {%- if execute -%}
        {%- set found = run_query(
            "select source, coalesce(brand_slug, '(none)') as brand, problem, sum(row_count) as rows "
            ~ "from " ~ this ~ " group by 1, 2, 3 order by 4 desc, 1, 2, 3"
        ).rows -%}
        {%- for row in found[:50] -%}
            {%- do exceptions.warn(
                "WARNING: " ~ row[0] ~ ", brand " ~ row[1] ~ ": " ~ row[2] ~ ", rows left out: "
                ~ row[3] ~ ". They are listed in " ~ this.schema ~ "." ~ this.identifier ~ "."
            ) -%}
        {%- endfor -%}
        {%- if found | length > 50 -%}
            {%- do exceptions.warn(
                "WARNING: " ~ (found | length - 50) ~ " more kinds of problems are in "
                ~ this.schema ~ "." ~ this.identifier ~ "."
            ) -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
