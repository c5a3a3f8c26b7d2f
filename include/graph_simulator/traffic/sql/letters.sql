-- letters: what a message carries, found by its number.
--
-- reads    judged
-- grain    one row per row of the file; the nth row is message_no n
-- params   none
-- used by  graph_simulator.traffic.laying
SELECT message_id, sender, to_list, cc_list, has_attachments, conversation_id
FROM judged
ORDER BY message_no;
