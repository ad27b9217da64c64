-- Your own tables, in the shape that Tributary reads. It never writes to `app`.
-- Drop the empty tables that the first migration made, then create views like these; every column
-- must be there, `null::text as …` stands for what you do not have. Amounts in major units, moments
-- as timestamptz.

drop table if exists app.transactions;
create view app.transactions as
select
    o.id::text as transaction_id,
    'acme' as brand_slug,                       -- the slug of the settings file
    o.customer_id::text as profile_id,
    case o.state
        when 'paid' then 'completed'
        when 'refunded' then 'refunded'
        when 'void' then 'cancelled'
        else 'pending'
    end as status,
    o.total_cents / 100.0 as amount,
    upper(o.currency) as currency,
    o.paid_at as transacted_at,
    o.refunded_cents / 100.0 as refunded_amount,
    o.refunded_at,
    o.updated_at,
    o.pixel_event_id as event_id,               -- what the browser pixel sent with the purchase
    'website' as action_source,
    o.checkout_url as event_source_url,
    o.ip_address as ip,                         -- of the purchase itself, never of an earlier visit
    o.user_agent,
    o.fbp,
    o.fbc
from shop.orders as o;
