<?php
// What people usually write for this placement: the measure of the PHP bar of the benchmark.
// It reads the fields, checks member_id, decodes the options and prints a small page.
declare(strict_types=1);

function field(array $from, string $name): string
{
    $value = $from[$name] ?? '';
    return is_string($value) ? $value : '';
}

function text(string $value): string
{
    return htmlspecialchars($value, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

$memberId = field($_POST, 'member_id');
if (preg_match('/^[0-9a-f]{32}$/D', $memberId) !== 1) {
    http_response_code(400);
    exit('member_id: 32 hex digits expected');
}
if (field($_POST, 'PLACEMENT') !== 'PAGE_BACKGROUND_WORKER') {
    http_response_code(400);
    exit('PLACEMENT: PAGE_BACKGROUND_WORKER expected');
}
$options = json_decode(field($_POST, 'PLACEMENT_OPTIONS'), true);
$options = is_array($options) ? $options : [];

header('Content-Type: text/html; charset=utf-8');
header('Cache-Control: no-store');
header('X-Content-Type-Options: nosniff');
?>
<!DOCTYPE html>
<html lang="<?= text(field($_GET, 'LANG')) ?>">
<head><meta charset="utf-8"><title>worker</title></head>
<body data-domain="<?= text(field($_GET, 'DOMAIN')) ?>"
      data-member="<?= text($memberId) ?>"
      data-sid="<?= text(field($_GET, 'APP_SID')) ?>"
      data-status="<?= text(field($_POST, 'status')) ?>"
      data-uri="<?= text(field($options, 'URI')) ?>">
</body>
</html>
