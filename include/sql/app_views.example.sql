-- Your own tables, in the shape that Tributary reads. It never writes to `app`.
--
--     psql "$TRIBUTARY_WAREHOUSE" -v ON_ERROR_STOP=1 -f app_views.sql
--
-- Write each view over your tables. Every column must be there, with its type: write `null::text`
-- for what you do not have. Amounts are in major units, moments are timestamptz. `brand_slug` is the
-- slug of the settings file. Leave out a view that you have nothing for, here and in the list below.
--
-- Safe to run again, and before or after a build of the marts: all of it or nothing happens. A view
-- is replaced in place. Where a migration made an empty table of that name, the view takes its
-- place; the views of dbt that read the table are dropped and named, and the next build of the marts
-- makes them again. A table with rows is not touched: then nothing happens.

begin;

do $make_way$
declare
    name text;
    relation regclass;
    has_rows boolean;
    ours text;
    others text;
begin
    if to_regnamespace('app') is null then
        create schema app;
    end if;
    foreach name in array array['transactions', 'profiles', 'touchpoints', 'exchange_rates'] loop
        relation := (
            select oid from pg_class
            where relnamespace = 'app'::regnamespace and relname = name and relkind = 'r'
        );
        continue when relation is null;
        execute format('lock table %s in access exclusive mode', relation);
        execute format('select exists (select from %s)', relation) into has_rows;
        if has_rows then
            raise exception
                'app.% is a table with rows, which a view would take away. Move it out of the schema app, or empty it, and run this again. Nothing was changed.',
                name;
        end if;
        -- All views that read it, directly or through others. dbt's are named stg_ or base_, in
        -- `staging` or in the schema of another target, such as `dev_staging`.
        with recursive readers as (
            select relation::oid as oid
            union
            select pg_rewrite.ev_class from readers
            inner join pg_depend on refobjid = readers.oid and classid = 'pg_rewrite'::regclass
            inner join pg_rewrite on pg_rewrite.oid = pg_depend.objid
        ),
        views as (
            select
                pg_class.oid::regclass::text as view,
                relnamespace::regnamespace::text ~ '(^|_)staging$' and relname ~ '^(stg|base)_'
                    as is_ours
            from readers
            inner join pg_class on pg_class.oid = readers.oid
            where relkind = 'v'
        )
        select
            string_agg(view, ', ' order by view) filter (where is_ours),
            string_agg(view, ', ' order by view) filter (where not is_ours)
        into ours, others
        from views;
        if others is not null then
            raise exception
                'app.% is a table that these views read, which dbt did not make: %. Drop them, run this again, and create them again. Nothing was changed.',
                name, others;
        end if;
        if ours is not null then
            execute 'drop view ' || ours;
            raise notice 'app.%: dropped % until the next build of the marts', name, ours;
        end if;
        execute format('drop table %s', relation);
    end loop;
end
$make_way$;

-- One row per purchase. The key is (brand_slug, transaction_id).
create or replace view app.transactions as
select
    o.id::text as transaction_id,
    o.brand::text as brand_slug,
    o.customer_id::text as profile_id,
    case o.state
        when 'paid' then 'completed'
        when 'refunded' then 'refunded'
        when 'void' then 'cancelled'
        else 'pending'
    end::text as status,
    (o.total_cents / 100.0)::numeric as amount,
    upper(o.currency)::text as currency,
    o.paid_at::timestamptz as transacted_at,
    (o.refunded_cents / 100.0)::numeric as refunded_amount,
    o.refunded_at::timestamptz as refunded_at,
    o.updated_at::timestamptz as updated_at,
    o.pixel_event_id::text as event_id,         -- what the browser pixel sent with the purchase
    'website'::text as action_source,
    o.checkout_url::text as event_source_url,
    o.ip_address::text as ip,                   -- of the purchase itself, never of an earlier visit
    o.user_agent::text as user_agent,
    o.fbp::text as fbp,
    o.fbc::text as fbc
from shop.orders as o;

-- One row per person of a brand. In clear: what leaves is hashed.
create or replace view app.profiles as
select
    c.id::text as profile_id,
    c.brand::text as brand_slug,
    c.email::text as email,
    c.phone::text as phone,                     -- with the country's code, else `country` says it
    c.first_name::text as first_name,
    c.last_name::text as last_name,
    c.city::text as city,
    null::text as state,
    c.postcode::text as zip,
    c.country_code::text as country,            -- ISO 3166: two letters
    null::text as gender,
    null::text as date_of_birth,
    c.id::text as external_id,
    c.accepts_marketing::boolean as consent_ad_user_data,       -- null: not asked
    c.accepts_marketing::boolean as consent_ad_personalization,
    c.updated_at::timestamptz as updated_at
from shop.customers as c;

-- One row per visit, with what its URL said.
create or replace view app.touchpoints as
select
    v.id::text as touchpoint_id,
    v.brand::text as brand_slug,
    v.customer_id::text as profile_id,
    v.visited_at::timestamptz as touched_at,
    v.utm_source::text as utm_source,
    v.utm_medium::text as utm_medium,
    v.utm_campaign::text as utm_campaign,
    v.utm_content::text as utm_content,
    v.utm_term::text as utm_term,
    null::text as ad_id,                        -- if a URL parameter of yours carries Meta's {{ad.id}}
    v.fbclid::text as fbclid,
    v.fbc::text as fbc,
    v.fbp::text as fbp,
    v.gclid::text as gclid,
    null::text as gbraid,
    null::text as wbraid,
    v.landing_url::text as landing_url,
    v.ip_address::text as ip,
    v.user_agent::text as user_agent
from shop.visits as v;

-- What one unit of `base` was worth in `quote` on a day; a rate counts for up to seven days after.
create or replace view app.exchange_rates as
select
    r.day::date as rate_date,
    r.base::text as base,
    r.quote::text as quote,
    r.rate::numeric as rate
from finance.rates as r;

commit;
