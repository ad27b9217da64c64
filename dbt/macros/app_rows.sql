{#-
    Whether an id is what a program writes where it has none: guests of many shops are the customer 0.
    (The list is `PLACEHOLDERS` of include/tributary/deliver/identity.py.)
-#}
{% macro is_placeholder(column) -%}
    (
        lower(trim({{ column }})) in (
            'undefined', 'null', 'none', 'nan', 'n/a', '0', '-', '(none)', '(null)', '(not set)', '""'
        )
        or {{ column }} like {{ "'%{{%}}%'" }}
    )
{%- endmacro %}


{#-
    A condition that most rows meet: Postgres expects that half of them meet a `case`, and one in 200
    `is null`, so that it would join the others by nested loops.
-#}
{% macro usually(condition) -%}
    case when {{ condition }} then true else false end
{%- endmacro %}


{#-
    Rows without a mistake whose key another row has, too. `key_problem` of them: null for the one
    that counts where all rows of the key are the same, and `repeated` for the others of these;
    `duplicate` where they differ. Hashes of keys are grouped and sorted at less cost than keys; a key
    that is here only because another one has its hash is there once, and counts.
-#}
{% macro repeated_rows(view, key) -%}
{%- set key_hash = 'hashtextextended(' ~ key ~ ', hashtextextended(brand_slug, 0))' -%}
with

every_row as not materialized (
    select * from {{ view }}
),

-- Materialized, so that parallel workers do not each compute it.
repeated_hashes as materialized (
    select {{ key_hash }} as key_hash
    from every_row
    group by 1
    having count(*) > 1
),

repeated as (
    select every_row.*
    from every_row
    inner join repeated_hashes on {{ key_hash }} = repeated_hashes.key_hash
    where every_row.problem is null
),

judged as (
    select
        *,
        case
            when
                min(hash_record_extended(repeated, 0)) over same_key
                <> max(hash_record_extended(repeated, 0)) over same_key
                then 'duplicate'
            when row_number() over same_key > 1 then 'repeated'
        end as key_problem
    from repeated
    window same_key as (partition by {{ key_hash }}, brand_slug, {{ key }})
)

select * from judged
{%- endmacro %}


{#-
    The rows of a view of the user's that count: those without a mistake, each key once. No `with`
    here, so that Postgres looks through a view that reads them.
-#}
{% macro rows_that_count(view, key) %}
    select
        every_row.*,
        null as key_problem
    from (select * from {{ ref('base_app__' ~ view) }}) as every_row
    left join (select * from {{ ref('base_app__repeated_' ~ view) }}) as repeated
        on every_row.brand_slug = repeated.brand_slug and every_row.{{ key }} = repeated.{{ key }}
    where repeated.{{ key }} is null and {{ usually('every_row.problem is null') }}
    union all
    select * from {{ ref('base_app__repeated_' ~ view) }}
    where key_problem is null
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
