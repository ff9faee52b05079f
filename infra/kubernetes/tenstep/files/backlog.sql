/* Seconds that devices of one kind would take for all that is to be drawn of some models:
   what KEDA divides by targetQueryValue. Its two placeholders are quoted text; models are
   separated by commas, without spaces.

   A job whose time nobody has measured on that kind counts as one second. NULL, which KEDA
   takes for an error, if no dispatcher has written for a minute: then nobody knows. */
WITH pool AS (
  SELECT
    max(jobs) AS jobs,
    max(device_ns / 1e9 + unrated_jobs)
      FILTER (WHERE device_kind = :'device_kind') AS seconds
  FROM backlog
  WHERE model = ANY (string_to_array(:'models', ','))
  GROUP BY model
)
SELECT CAST(
  CASE
    WHEN (SELECT max(written_at) FROM backlog) > clock_timestamp() - interval '60 seconds'
    THEN (SELECT coalesce(sum(coalesce(seconds, jobs)), 0) FROM pool)
  END
  AS double precision
) AS device_seconds
